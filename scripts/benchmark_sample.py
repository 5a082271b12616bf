"""Measure how fast the sample generator makes records, on one core, validation included.

Writes ``docs/benchmarks/sample.json``; the code library and the data files are loaded before the clock starts.
"""

import importlib.metadata
import os
import platform
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

__all__ = ["main"]

ROOT: Final = Path(__file__).resolve().parents[1]
NUM_REPEATS: Final = 3


def _one_run(num_records: int) -> dict[str, float]:
    """Make the records once and count them."""
    from clinical_coding.readers.sample import read_sample

    started = time.perf_counter()
    num_codes = 0
    keys: set[str] = set()
    words: list[int] = []
    for record in read_sample(num_records):
        num_codes += len(record.codes)
        keys |= record.keys()
        words.extend(note.text.count(" ") + note.text.count("\n") + 1 for note in record.notes)
    diagnoses = {key for key in keys if key.startswith("icd10cm:")}
    return {
        "records a second": num_records / (time.perf_counter() - started),
        "codes a record": num_codes / num_records,
        "words a note": statistics.mean(words),
        "notes a record": len(words) / num_records,
        "distinct codes": len(keys),
        "distinct ICD-10-CM codes": len(diagnoses),
    }


def _device() -> str:
    return f"{platform.machine()}, 1 of {os.cpu_count()} cores used"


def _versions() -> dict[str, str]:
    names = ("pydantic", "pyyaml", "simple-icd-10-cm")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _rows(runs: list[dict[str, float]]) -> list[dict[str, Any]]:
    """The median of the runs, and the memory that the process took at most."""
    peak_kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {metric: statistics.median(run[metric] for run in runs) for metric in runs[0]}
    rows = [{"metric": metric, "value": round(value, 2), "unit": "1/s" if "second" in metric else "count"}
            for metric, value in figures.items()]  # fmt: skip
    return [*rows, {"metric": "peak memory", "value": round(peak_kibibytes / 1024), "unit": "MiB"}]


def main(
    num_records: Annotated[int, typer.Option(help="Records to make in each of three runs.")] = 5_000,
    out: Annotated[Path, typer.Option(help="Where the figures are written.")] = ROOT / "docs/benchmarks/sample.json",
) -> None:
    """Measure the sample generator and write the figures down."""
    import json

    from clinical_coding.artefact import publish
    from clinical_coding.readers.sample.catalogue import load_catalogue

    load_catalogue()
    console = Console()
    runs = [_one_run(num_records) for _ in track(range(NUM_REPEATS), "making records", console=console)]
    rows = _rows(runs)
    report = {
        "command": f"scripts/benchmark_sample.py --num-records {num_records}",
        "versions": _versions(),
        "device": _device(),
        "rows": rows,
    }
    with publish(out) as stream:
        stream.write(json.dumps(report, indent=2) + "\n")
    table = Table("metric", "value", "unit")
    for row in rows:
        table.add_row(row["metric"], str(row["value"]), row["unit"])
    console.print(table)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    typer.run(main)
