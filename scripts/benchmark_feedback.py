"""Speed of the feedback loop on SQLite and PostgreSQL: decisions, imports, the queue, the export.

Each measurement has a database of its own. Writes docs/benchmarks/feedback.json.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from feedback.settings import FeedbackSettings, ReasonCodes, load_feedback, load_reasons
from scripts.benchmark_databases import DATABASES, fresh, make_principal
from scripts.benchmark_decisions import NUM_CLIENTS, decision_speed, import_speed
from scripts.benchmark_export import export_speed
from scripts.benchmark_queue import queue_speed
from scripts.benchmark_results import Row, write_results
from scripts.options import CONFIGS

__all__ = ["main"]


def _measure(
    database: str,
    *,
    settings: FeedbackSettings,
    reasons: ReasonCodes,
    num_decisions: int,
    num_open: int,
    num_records: int,
) -> Iterator[Row]:
    with fresh(database) as engine:
        yield from decision_speed(engine, num_decisions=num_decisions, settings=settings, reasons=reasons)
    with fresh(database) as engine, tempfile.TemporaryDirectory() as folder:
        yield from import_speed(
            engine, folder=Path(folder), num_lines=num_decisions, settings=settings, reasons=reasons
        )
    if num_open:
        with fresh(database) as engine:
            yield from queue_speed(engine, num_open=num_open, settings=settings)
    if num_records:
        with fresh(database) as engine, tempfile.TemporaryDirectory() as folder:
            supervisor, _ = make_principal(engine, role="supervisor", name="exporter")
            for row in export_speed(engine, folder=Path(folder), num_records=num_records, principal=supervisor):
                yield Row(f"{row.metric}_{database}", row.value, row.unit)


def main(
    num_decisions: Annotated[int, typer.Option(min=200, help="Decisions of eight clients; lines imported.")] = 4_000,
    num_open: Annotated[int, typer.Option(min=0, help="Open cases of the queue; 0 leaves it out.")] = 100_000,
    num_records: Annotated[int, typer.Option(min=0, help="Records to export; 0 leaves it out.")] = 10_000,
    beside: Annotated[
        str, typer.Option("--beside", help="What else ran on the machine; told in the file.")
    ] = "nothing",
) -> None:
    """Measure, and write the results."""
    console = Console()
    settings, reasons = load_feedback(CONFIGS / "feedback.yaml"), load_reasons(CONFIGS / "reasons.yaml")
    rows = []
    for database in DATABASES:
        for row in _measure(
            database,
            settings=settings,
            reasons=reasons,
            num_decisions=num_decisions,
            num_open=num_open,
            num_records=num_records,
        ):
            console.print(f"{row.metric}: {row.value} {row.unit}")
            rows.append(row)
    facts = {"num_clients": NUM_CLIENTS, "num_decisions": num_decisions, "beside": beside}
    console.print(f"written to {write_results('feedback', rows, **facts)}")


if __name__ == "__main__":
    typer.run(main)
