"""``chartloop versions``: what is registered."""

import typer
from rich.console import Console
from rich.table import Table

from scripts.options import DEFAULT_DATA_DIR, AsJson, DataDir, print_json

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Registered versions of the model.")


@app.callback()
def _group() -> None:
    """Registered versions of the model."""


@app.command("list")
def list_(as_json: AsJson = False, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List the registered versions, newest first, with their headline metrics."""
    from governance.versions import list_versions

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
