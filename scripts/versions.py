"""``chartloop versions``: what is registered, which is better, which serves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.acting import Key, acting
from scripts.options import DEFAULT_DATA_DIR, AsJson, DatabaseUrl, DataDir, print_json

if TYPE_CHECKING:
    from governance.history import Promotion

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Registered versions of the model.")

Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever reads the history; no clinical text.")]


@app.callback()
def _group() -> None:
    """Registered versions of the model."""


@app.command("list")
def list_(as_json: AsJson = False, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List the registered versions, newest first, with their headline metrics."""
    from governance.versions import list_versions

    _mend_alias(database_url, data_dir=data_dir)
    versions = list_versions(data_dir=data_dir)
    if as_json:
        print_json(
            [
                {
                    "number": version.number,
                    "aliases": version.aliases,
                    "created": version.created.isoformat(),
                    "run_id": version.run_id,
                    **(version.lineage.model_dump(mode="json") if version.lineage else {}),
                }
                for version in versions
            ]
        )
        return
    # Without a box it fits 80 columns.
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column in ("no.", "aliases", "created (UTC)", "micro-F1", "MAP", "measured on", "bundle", "run"):
        table.add_column(column, no_wrap=True)
    for version in versions:
        metrics = version.lineage.metrics if version.lineage else {}
        table.add_row(
            str(version.number),
            ", ".join(version.aliases),
            f"{version.created:%Y-%m-%d %H:%M}",
            *(f"{metrics[name]:.3f}" if name in metrics else "" for name in ("micro_f1", "mean_average_precision")),
            version.lineage.evaluated_on.value if version.lineage else "",
            version.lineage.bundle_sha256[:8] if version.lineage else "not made by chartloop",
            (version.run_id or "")[:8],
        )
    Console().print(table)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="The version to compare with: champion, candidate, a number, a folder.")],
    b: Annotated[str, typer.Argument(help="The version that is judged.")],
    records: Annotated[
        str | None,
        typer.Option("--records", help="Let both predict these records; default: what their trainings logged."),
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Of the records, only this split.")] = None,
    rejects: Annotated[
        Path | None, typer.Option("--rejects", help="Keep input lines that cannot be read in this file.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page for reviewers, all in one file.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Say whether version B is better than version A, on the whole and by slice.

    Example: [bold]chartloop versions compare champion candidate --html comparison.html[/bold]

    Both are measured on the same records, which neither was trained on; intervals are paired bootstrap.
    """
    from governance.verdict import headline

    console = Console(stderr=True)
    if records is not None:
        from scripts.comparing import compare_on

        comparison = compare_on(a, b, records, split=split, rejects=rejects, data_dir=data_dir, console=console)
    elif split is not None or rejects is not None:
        raise ValueError("--split and --rejects are of the records that --records names; give it too")
    else:
        from governance.measured import compare_logged

        comparison = compare_logged(a, b, data_dir=data_dir)
    if html is not None:
        from clinical_coding.artefact import publish
        from governance.report import render

        with publish(html) as stream:
            stream.write(render(comparison))
        console.print(f"report in {html}", soft_wrap=True, highlight=False)
    if as_json:
        print_json(comparison.model_dump(mode="json"))
        return
    from scripts.comparison_tables import comparison_tables

    for table in comparison_tables(comparison):
        Console().print(table)
    Console().print(f"evaluation set {comparison.evaluation_set_sha256}", highlight=False)
    Console().print(headline(comparison), style="bold", highlight=False)


@app.command()
def promote(
    reference: Annotated[str, typer.Argument(metavar="REF", help="candidate, challenger or a number.")],
    reason: Reason,
    key: Key = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a version the champion; takes a reviewer's or an administrator's key.

    Example: [bold]chartloop versions promote candidate --reason "better on dev, see comparison.html"[/bold]
    """
    from governance.promotion import promote as run
    from ledger.engine import ledger

    with ledger(data_dir, url=database_url) as engine:
        principal = acting(engine, key=key, data_dir=data_dir)
        _tell(run(engine, reference, reason=reason, principal=principal, data_dir=data_dir))


@app.command()
def rollback(
    reason: Reason, key: Key = None, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Return to the champion before the last promotion, once; takes a reviewer's or an administrator's key."""
    from governance.promotion import rollback as run
    from ledger.engine import ledger

    with ledger(data_dir, url=database_url) as engine:
        principal = acting(engine, key=key, data_dir=data_dir)
        _tell(run(engine, reason=reason, principal=principal, data_dir=data_dir))


@app.command()
def history(as_json: AsJson = False, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List promotions and rollbacks, newest first: who, when, why."""
    from governance.history import list_promotions
    from ledger.engine import ledger

    with ledger(data_dir, url=database_url) as engine:
        promotions = list_promotions(engine)
    if as_json:
        from dataclasses import asdict

        print_json([asdict(promotion) | {"at": promotion.at.isoformat()} for promotion in promotions])
        return
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column in ("when (UTC)", "what", "version", "before", "who"):
        table.add_column(column, no_wrap=True)
    table.add_column("why")
    for promotion in promotions:
        before = "" if promotion.previous_number is None else str(promotion.previous_number)
        when, number = f"{promotion.at:%Y-%m-%d %H:%M}", str(promotion.version_number)
        table.add_row(when, promotion.kind, number, before, escape(promotion.principal), escape(promotion.reason))
    Console().print(table)


def _tell(promotion: "Promotion") -> None:
    before = "" if promotion.previous_number is None else f", in the place of version {promotion.previous_number}"
    Console(stderr=True).print(
        f"version {promotion.version_number} is champion{before} ({promotion.kind} {promotion.seq} "
        f"by {escape(promotion.principal)})",
        soft_wrap=True,
        highlight=False,
    )


def _mend_alias(database_url: str | None, *, data_dir: Path) -> None:
    """Let the aliases say what the ledger says; where there is no ledger yet, none is made by looking."""
    from clinical_coding.data_directory import DataDirectory

    if database_url is None and not DataDirectory.locate(data_dir).database.is_file():
        return
    from governance.promotion import reconcile
    from ledger.engine import ledger

    with ledger(data_dir, url=database_url) as engine:
        try:
            reconcile(engine, data_dir=data_dir)
        except ValueError as error:
            # Whoever looks for a way out needs the list most of all.
            Console(stderr=True).print(f"warning: {escape(str(error))}", soft_wrap=True, highlight=False)
