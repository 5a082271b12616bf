"""``chartloop feedback import``: decisions in bulk (stage 8)."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from scripts.acting import Key, acting
from scripts.held_releases import held_releases
from scripts.options import CONFIGS, DEFAULT_DATA_DIR, AsJson, DatabaseUrl, DataDir, print_json

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Put the command on the group."""
    app.command("import")(import_decisions)


def import_decisions(
    file: Annotated[Path, typer.Argument(help='One {"idempotency_key": "…", "decision": {…}} a line, in UTF-8.')],
    rejects: Annotated[
        Path | None, typer.Option("--rejects", help="Keep lines that are not imported in this file.")
    ] = None,
    max_rejects: Annotated[
        int, typer.Option("--max-rejects", help="Stop when more lines than this are not imported.")
    ] = 100,
    config: Annotated[
        Path, typer.Option("--config", help="Shares drawn for audit, and the order of the queue.")
    ] = CONFIGS / "feedback.yaml",
    reasons: Annotated[Path, typer.Option("--reasons", help="The reason codes.")] = CONFIGS / "reasons.yaml",
    key: Key = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Import decisions of coders; the same file given again goes on where it broke, and stores nothing twice.

    Example: [bold]chartloop feedback import decisions.jsonl --rejects rejected.jsonl[/bold]
    """
    from clinical_coding.readers.rejects import Rejects
    from feedback.importing import import_decisions as run
    from feedback.settings import load_feedback, load_reasons
    from ledger.engine import ledger
    from training.progress import progress_bar

    settings, known_reasons = load_feedback(config), load_reasons(reasons)
    systems = held_releases(data_dir)
    with (
        ledger(data_dir, url=database_url) as engine,
        Rejects(rejects, max_rejects=max_rejects) as rejected,
        progress_bar("import decisions", total=None, console=Console(stderr=True)) as advance,
    ):
        principal = acting(engine, key=key, data_dir=data_dir)
        report = run(
            engine,
            file,
            principal=principal,
            settings=settings,
            reasons=known_reasons,
            systems=systems,
            rejects=rejected,
            advance=advance,
        )
    counts = {
        "stored": report.num_stored,
        "there already": report.num_repeated,
        "rejected": report.num_rejected,
        "overrides": report.num_overrides,
    }
    if as_json:
        print_json({name.replace(" ", "_"): count for name, count in counts.items()})
        return
    table = Table(title=f"decisions of {principal.name}", title_justify="left", box=None)
    table.add_column("lines")
    table.add_column("", justify="right")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    Console().print(table)
    if report.num_rejected and rejects is None:
        Console(stderr=True).print("give --rejects FILE to keep the lines that are rejected")
