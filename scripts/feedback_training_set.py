"""``chartloop feedback export`` and ``trace``: the training set, and from any of its records back (stage 10)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.acting import Key, acting
from scripts.feedback_trace import Versions, trace_tree
from scripts.held_releases import held_releases
from scripts.options import DEFAULT_DATA_DIR, AsJson, DatabaseUrl, DataDir, print_json

if TYPE_CHECKING:
    from feedback.traced import Trace
    from feedback.training_set import ExportReport

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Put the commands on the group."""
    app.command("export")(export)
    app.command("trace")(trace)


def export(
    out: Annotated[Path, typer.Option("--out", help="The folder to make; an earlier training set is replaced.")],
    replay: Annotated[
        list[str] | None,
        typer.Option(
            "--replay",
            help="Base records whose train split goes in too, so that what was learnt is not forgotten; repeatable.",
        ),
    ] = None,
    key: Key = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a training set of what supervisors decided, and say what was left out, and why.

    Only what a verdict says is learnt; every other code is unknown. Needs the key of a supervisor, an
    admin or a service, since the folder holds notes.

    Example: [bold]chartloop feedback export --out mlruns/set --replay 'sample:1000'[/bold]
    """
    from dataclasses import asdict

    from feedback.training_set import export as run
    from ledger.engine import ledger
    from training.progress import progress_bar

    systems = held_releases(data_dir)
    with (
        ledger(data_dir, url=database_url) as engine,
        progress_bar("write records", total=None, console=Console(stderr=True)) as advance,
    ):
        principal = acting(engine, key=key, data_dir=data_dir)
        report = run(engine, out=out, replay=replay or (), principal=principal, systems=systems, progress=advance)
    if as_json:
        print_json(asdict(report) | {"folder": str(report.folder)})
        return
    _show_report(report)


def trace(
    identifier: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of a training record (feedback-…), suggestion, decision, override, case, audit draw or adjudication.",
        ),
    ],
    key: Key = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show who decided what, when, and which versions learnt it.

    Needs the key of a supervisor, an admin or a service.
    """
    from feedback.trace import trace as run
    from ledger.engine import ledger

    with ledger(data_dir, url=database_url) as engine:
        found = run(engine, identifier, principal=acting(engine, key=key, data_dir=data_dir))
    versions, problem = _versions(found, data_dir=data_dir)
    if as_json:
        numbers = None if versions is None else {name: list(known) for name, known in versions.items()}
        print_json(found.model_dump(mode="json") | {"versions": numbers, "versions_unknown": problem})
        return
    Console().print(trace_tree(found, versions=versions))
    if problem is not None:
        Console(stderr=True).print(f"which versions learnt from it cannot be told: {escape(problem)}")


def _versions(found: "Trace", *, data_dir: Path) -> tuple[Versions | None, str | None]:
    """The numbers of the versions that each verdict trained, or why they cannot be told."""
    if not found.adjudications:
        return {}, None
    from governance.lineage import versions_trained_on

    try:
        return {
            one.adjudication_id: [
                version.number for version in versions_trained_on(one.adjudication_id, data_dir=data_dir)
            ]
            for one in found.adjudications
        }, None
    except ValueError as error:
        # What the ledger knows is shown all the same.
        return None, str(error)


def _show_report(report: "ExportReport") -> None:
    from feedback.training_set import LEFT_OUT

    console = Console()
    table = Table(title="training set", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    codes = ", ".join(f"{count:,} {state}" for state, count in report.num_codes.items())
    table.add_row("from feedback", f"{report.num_feedback:,}", f"records; {codes} codes")
    table.add_row("complete", f"{report.num_complete:,}", "of them audited whole: unlisted codes are absent")
    table.add_row("replayed", f"{report.num_replayed:,}", "base records of the train split")
    table.add_row("adjudications", f"{report.num_adjudications:,}", "went in")
    if report.num_conflicts:
        table.add_row(
            "conflicts", f"{report.num_conflicts:,}", "codes on which verdicts contradict each other: unknown"
        )
    if report.num_foreign_codes:
        table.add_row(
            "left off", f"{report.num_foreign_codes:,}", "codes that the releases they are judged by do not hold"
        )
    console.print(table)
    if report.left_out:
        left = Table(title="records left out", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
        left.add_column(no_wrap=True)
        left.add_column(justify="right")
        left.add_column()
        for reason, count in report.left_out.items():
            left.add_row(reason, f"{count:,}", LEFT_OUT[reason])
        console.print(left)
    console.print(f"content {report.content_sha256}", soft_wrap=True)
    train = f"chartloop train --config configs/train-sample.yaml --manifest {escape(str(report.folder))}"
    console.print(f"next: [bold]{train}[/bold]", soft_wrap=True)
