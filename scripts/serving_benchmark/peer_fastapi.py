"""A peer: the model behind FastAPI, one request at a time; ``python -m scripts.serving_benchmark.peer_fastapi``."""

import argparse
from pathlib import Path
from threading import Lock
from typing import Any

from scripts.serving_benchmark.peer_wire import Forward, load_scorer, read_notes, write_codes


def main() -> None:
    """Serve until killed."""
    import uvicorn
    from fastapi import FastAPI

    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    scorer = load_scorer(given.bundle, forward=Forward.PADDED, num_threads=given.threads)
    app, turn = FastAPI(), Lock()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/predict")
    def predict(content: dict[str, Any]) -> dict[str, Any]:
        # Forwards that share the cores are slower than the same ones in turn.
        with turn:
            return write_codes(scorer.score([read_notes(content)])[0])

    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
