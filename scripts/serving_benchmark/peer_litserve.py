"""A peer: the model behind LitServe; run by ``python -m scripts.serving_benchmark.peer_litserve``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import litserve

from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Note
from scripts.serving_benchmark.peer_wire import Forward, load_scorer, read_notes, write_codes


class CodingApi(litserve.LitAPI):  # type: ignore[misc]
    """Notes to codes, as LitServe asks for it."""

    def __init__(self, bundle: Path, *, forward: Forward, num_threads: int, **batching: Any) -> None:
        super().__init__(**batching)
        self._bundle = bundle
        self._forward = forward
        self._num_threads = num_threads

    def setup(self, device: str) -> None:
        """Load, in LitServe's worker."""
        self._scorer = load_scorer(self._bundle, forward=self._forward, num_threads=self._num_threads)

    def decode_request(self, request: dict[str, Any]) -> list[Note]:
        """JSON to notes."""
        return read_notes(request)

    def predict(self, x: Any) -> Any:
        """Score what was gathered; without batching that is one encounter."""
        if self.max_batch_size == 1:
            return self._scorer.score([x])[0]
        return self._scorer.score(x)

    def encode_response(self, output: Sequence[PredictedCode]) -> dict[str, Any]:
        """Codes to JSON."""
        return write_codes(output)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--forward", type=Forward, required=True)
    parser.add_argument("--max-batch-size", type=int, required=True)
    parser.add_argument("--batch-timeout-seconds", type=float, required=True)
    given = parser.parse_args()
    api = CodingApi(
        given.bundle,
        forward=given.forward,
        num_threads=given.threads,
        max_batch_size=given.max_batch_size,
        batch_timeout=given.batch_timeout_seconds,
    )
    server = litserve.LitServer(api, accelerator="cpu", timeout=120, restart_workers=False)
    server.run(host="127.0.0.1", port=given.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
