"""``chartloop keys``: who may ask."""

import re
from datetime import timedelta
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from scripts.acting import Key, acting
from scripts.options import DEFAULT_DATA_DIR, DatabaseUrl, DataDir

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Keys of the people and systems that may ask.")

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_DURATION: Final = re.compile(r"(\d{1,5})([mhd])")

Expires = Annotated[
    str | None, typer.Option("--expires", help="When the key ends: 90d, 12h, 30m from now; default: never.")
]
Name = Annotated[str, typer.Option("--name", help="Whose key it is.")]


@app.command()
def create(
    role: Annotated[str, typer.Option("--role", help="service, coder, supervisor, reviewer or admin.")],
    name: Name,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="What the key is for, once for each; default: all that the role may do."),
    ] = None,
    expires: Expires = None,
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", help="Of this key; default: as the gateway is set.")
    ] = None,
    key: Key = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a key and print it, last and once; only its hash is kept.

    Scopes narrow what the role may do: suggest, read, decide, adjudicate, query, govern, ehr, operate. Example:
    [bold]chartloop keys create --role service --name ehr --scope suggest --scope read --expires 90d[/bold]
    """
    from ledger.engine import ledger
    from ledger.keys import KeyTerms
    from ledger.principals import create_key

    if name.startswith("sim-"):
        raise ValueError(f"--name {name!r} begins like those of simulated people; choose another")
    terms = KeyTerms.checked(
        scopes=scope or (),
        lifetime=None if expires is None else _read_duration(expires, option="--expires"),
        requests_per_minute=requests_per_minute,
    )
    with ledger(data_dir, url=database_url) as engine:
        who = acting(engine, key=key, data_dir=data_dir)
        typer.echo(create_key(engine, role=role, name=name, terms=terms, acting=who))


@app.command()
def rotate(
    name: Name,
    overlap: Annotated[str, typer.Option("--overlap", help="How long keys given before go on working.")] = "24h",
    expires: Expires = None,
    key: Key = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make the next key for a name, on the terms of the newest, and print it; the old ones end after the overlap.

    Example: [bold]chartloop keys rotate --name ehr --overlap 24h[/bold]
    """
    from ledger.engine import ledger
    from ledger.principals import rotate_key

    lasts = _read_duration(overlap, option="--overlap")
    lifetime = None if expires is None else _read_duration(expires, option="--expires")
    with ledger(data_dir, url=database_url) as engine:
        who = acting(engine, key=key, data_dir=data_dir)
        typer.echo(rotate_key(engine, name=name, overlap=lasts, lifetime=lifetime, acting=who))


@app.command()
def replace(
    name: Name, key: Key = None, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Make a new key for a name that has some, and print it; the old ones are refused within seconds."""
    from ledger.engine import ledger
    from ledger.principals import replace_key

    with ledger(data_dir, url=database_url) as engine:
        who = acting(engine, key=key, data_dir=data_dir)
        typer.echo(replace_key(engine, name=name, acting=who))


@app.command()
def revoke(name: Name, key: Key = None, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """End a name and all its keys for good; requests with them are refused within seconds."""
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


def _read_duration(text: str, *, option: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{option} {text!r} is no duration; give a number and a unit, such as 90d, 24h or 30m")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
