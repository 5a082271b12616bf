"""``chartloop keys``: who may ask."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from scripts.acting import Key, acting
from scripts.options import DEFAULT_DATA_DIR, DatabaseUrl, DataDir

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Keys of the people and systems that may ask.")

Name = Annotated[str, typer.Option("--name", help="Whose key it is; one key a name.")]


@app.command()
def create(
    role: Annotated[str, typer.Option("--role", help="service, coder, supervisor, reviewer or admin.")],
    name: Name,
    key: Key = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a key and print it, last and once; only its hash is kept."""
    from ledger.engine import ledger
    from ledger.principals import create_key

    if name.startswith("sim-"):
        raise ValueError(f"--name {name!r} begins like those of simulated people; choose another")
    with ledger(data_dir, url=database_url) as engine:
        who = acting(engine, key=key, data_dir=data_dir)
        typer.echo(create_key(engine, role=role, name=name, acting=who))


@app.command()
def replace(
    name: Name, key: Key = None, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Make a new key for a name that has one, and print it; the old one is refused within seconds."""
    from ledger.engine import ledger
    from ledger.principals import replace_key

    with ledger(data_dir, url=database_url) as engine:
        who = acting(engine, key=key, data_dir=data_dir)
        typer.echo(replace_key(engine, name=name, acting=who))


@app.command()
def revoke(name: Name, key: Key = None, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """End a key; requests with it are refused within seconds."""
    from ledger.engine import ledger
    from ledger.principals import revoke as end

    with ledger(data_dir, url=database_url) as engine:
        end(engine, name=name, acting=acting(engine, key=key, data_dir=data_dir))


@app.command("list")
def list_(database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List names and roles; keys themselves are not kept."""
    from ledger.engine import ledger
    from ledger.principals import list_principals

    table = Table()
    for column in ("name", "role", "created (UTC)", "revoked (UTC)"):
        table.add_column(column)
    with ledger(data_dir, url=database_url) as engine:
        for principal in list_principals(engine):
            ended = f"{principal.revoked_at:%Y-%m-%d %H:%M}" if principal.revoked_at else ""
            table.add_row(principal.name, principal.role, f"{principal.created_at:%Y-%m-%d %H:%M}", ended)
    Console().print(table)
