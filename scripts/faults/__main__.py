"""Tries every fault, and writes docs/benchmarks/faults.json: ``python -m scripts.faults --data-dir DIR``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from scripts.benchmark_results import Row, write_results
from scripts.faults.trials import TRIALS, NotPossibleHereError, run_trial
from scripts.options import DEFAULT_DATA_DIR, DataDir
from scripts.serving_benchmark.processes import end_servers_with_us

__all__ = ["main"]


def _rows(name: str, told: dict[str, Any]) -> list[Row]:
    figures = {
        "noticed": (told["noticed_seconds"], "s"),
        "recovered": (told["recovered_seconds"], "s"),
        "wrong answers": (told["num_wrong"], "answers"),
        "lost decisions": (told["num_lost_decisions"], "decisions"),
        "failed requests": (told["num_failed"], "requests"),
        "requests": (told["num_requests"], "requests"),
    }
    return [Row(f"{name}: {what}", value, unit) for what, (value, unit) in figures.items() if value is not None]


def main(
    version: Annotated[str, typer.Option(help="The version to serve.")] = "candidate",
    only: Annotated[list[str] | None, typer.Option(help="Trials to run, by name; all when none is named.")] = None,
    json: Annotated[Path | None, typer.Option(help="Results file in place of docs/benchmarks/faults.json.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Try faults under load, one server each."""
    end_servers_with_us()
    unknown = set(only or ()) - set(TRIALS)
    if unknown:
        raise typer.BadParameter(f"no trial {', '.join(sorted(unknown))}; there are: {', '.join(TRIALS)}")
    console, rows, told, skipped = Console(stderr=True), list[Row](), dict[str, Any](), dict[str, str]()
    for name in only or TRIALS:
        try:
            told[name] = run_trial(name, data_dir=data_dir, version=version)
        except NotPossibleHereError as error:
            skipped[name] = str(error)
            console.print(f"{name}: not possible here: {error}", highlight=False)
            continue
        rows += _rows(name, told[name])
        console.print(f"{name}: {told[name]}", highlight=False, soft_wrap=True)
    typer.echo(write_results(json or "faults", rows, trials=told, not_possible_here=skipped))


if __name__ == "__main__":
    typer.run(main)
