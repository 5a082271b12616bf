"""Accuracy, time and memory of training on CodiEsp: train split only, measured on the dev split.

Runs ``chartloop train --config configs/train-codiesp.yaml`` as a user would, in a process of its own, and writes
docs/benchmarks/codiesp.json. Takes half an hour on two cores. The threshold, the calibration and the number of
epochs come from held-out training patients; the dev split is looked at once.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from scripts.benchmark_results import Row, write_results

__all__ = ["run"]

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "configs/train-codiesp.yaml"


def run(
    data_dir: Annotated[Path | None, typer.Option(help="Keep the version here; default: a temporary folder.")] = None,
) -> None:
    """Train, measure, write the results."""
    with tempfile.TemporaryDirectory() as scratch:
        store = (data_dir or Path(scratch)).resolve()
        command = [sys.executable, "-m", "scripts.chartloop", "train", "--config", CONFIG, "--data-dir", str(store)]
        started = time.monotonic()
        trained = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.monotonic() - started
        peak_gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        result = json.loads(trained.stdout.splitlines()[-1])
        evaluation = json.loads(next(store.glob("artifacts/*/artifacts/evaluation.json")).read_text())
    metrics = result["metrics"]
    rows = [
        Row("mean_average_precision", metrics["mean_average_precision"], "proportion"),
        Row("micro_f1", metrics["micro_f1"], "proportion"),
        Row("macro_f1", metrics["macro_f1"], "proportion"),
        Row("precision", metrics["precision"], "proportion"),
        Row("recall", metrics["recall"], "proportion"),
        Row("precision_at_8", metrics["precision_at_8"], "proportion"),
        Row("training_seconds", seconds, "s"),
        Row("peak_memory", peak_gigabytes, "GB"),
    ]
    slices = {
        specialty: {name: measured[name] for name in ("num_records", "micro_f1", "mean_average_precision")}
        for specialty, measured in evaluation["slices"]["specialty"].items()
    }
    path = write_results(
        "codiesp",
        rows,
        trained_on="CodiEsp v4 train, English, task D (500 documents)",
        measured_on="CodiEsp v4 dev (250 documents), not used for training, calibration or threshold",
        by_specialty=slices,
    )
    typer.echo(path)


if __name__ == "__main__":
    typer.run(run)
