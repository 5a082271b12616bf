"""The forward alone, in a process that does nothing else: what serving can at most reach on these cores."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from clinical_coding.records import Note

__all__ = ["notes_per_second"]


def notes_per_second(bundle: Path, texts: Sequence[str], *, notes_a_batch: int) -> float:
    """Score texts in a fresh process.

    Args:
        bundle: The version.
        texts: One note a document.
        notes_a_batch: Documents that are scored together.
    """
    command = [sys.executable, "-m", "scripts.serving_benchmark.in_process", str(bundle), str(notes_a_batch)]
    done = subprocess.run(command, input=json.dumps(list(texts)), stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Score the texts of standard input; write notes a second."""
    from training.model import Scorer

    size = int(sys.argv[2])
    scorer = Scorer(Path(sys.argv[1]), num_threads=os.cpu_count())
    documents = [[Note(note_id="n", text=text)] for text in json.load(sys.stdin)]
    scorer.score(documents[:size])
    started = time.perf_counter()
    for first in range(0, len(documents), size):
        scorer.score(documents[first : first + size])
    sys.stdout.write(f"{len(documents) / (time.perf_counter() - started)}\n")


if __name__ == "__main__":
    main()
