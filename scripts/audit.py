"""``chartloop audit``: is the record of who did what whole, what does it say, and what may be forgotten."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.acting import Key, acting
from scripts.options import DEFAULT_DATA_DIR, AsJson, DatabaseUrl, DataDir, print_json

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ledger.audit_verify import Verification

__all__ = ["app"]

NUM_SHOWN = 50

app = typer.Typer(
    no_args_is_help=True,
    help="""The audit log: append-only, each entry chained to the one before by its hash.

    Keep what [bold]audit head[/bold] prints elsewhere, and give it to [bold]audit verify --anchor[/bold]:
    whoever may rewrite the whole database cannot rewrite that.
    """,
)


@app.command()
def verify(
    anchor: Annotated[
        str | None, typer.Option("--anchor", help="SEQ:HASH that audit head printed earlier; the log must hold it.")
    ] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Check every entry: unchanged, in its place, none missing. Exits 0 when the log is whole, else 1."""
    from ledger.engine import ledger

    expected = None if anchor is None else _anchor(anchor)
    with ledger(data_dir, url=database_url) as engine:
        verification = _verify(engine, anchor=expected)
    if as_json:
        print_json(_told(verification))
    else:
        _show(verification)
    raise typer.Exit(0 if verification.is_whole else 1)


@app.command()
def head(database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Print number and hash of the last entry as SEQ:HASH; keep it elsewhere."""
    from ledger.audit_verify import head as read_head
    from ledger.engine import ledger

    with ledger(data_dir, url=database_url) as engine:
        seq, digest = read_head(engine)
    typer.echo(f"{seq}:{digest}")


@app.command("list")
def list_(
    subject: Annotated[str | None, typer.Option("--subject", help="Of this subject: decision:ID, say.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Of this action: key-created, say.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="How many, from the newest.")] = 20,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """List entries, the newest first."""
    from ledger.audit_log import entries
    from ledger.engine import ledger

    with ledger(data_dir, url=database_url) as engine:
        found = entries(engine, subject=subject, action=action, limit=limit)
    if as_json:
        for entry in found:
            print_json(entry)
        return
    table = Table("seq", "at (UTC)", "who", "role", "action", "subject")
    for entry in found:
        at = f"{datetime.fromisoformat(entry['at']):%Y-%m-%d %H:%M:%S}"
        who = (entry["principal"], entry["role"], entry["action"], entry["subject"])
        table.add_row(f"{entry['seq']}", at, *map(escape, who))
    Console().print(table)


@app.command()
def purge(
    before: Annotated[
        datetime, typer.Option("--before", formats=["%Y-%m-%d"], help="Suggestions stored earlier; UTC.")
    ],
    key: Key = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Delete notes and answers of old suggestions that no open case needs; an admin's key is asked for.

    Rows, hashes, decisions and the audit log stay. Verdicts on what was purged can no longer be exported.
    """
    from ledger.engine import ledger
    from ledger.retention import purge as run

    with ledger(data_dir, url=database_url) as engine:
        who = acting(engine, key=key, data_dir=data_dir)
        done = run(engine, before=before.replace(tzinfo=UTC), principal=who)
    kept = f"; {done.num_kept:,} were kept for their open cases" if done.num_kept else ""
    Console().print(f"the content of {done.num_purged:,} suggestions was deleted{kept}", highlight=False)


def _verify(engine: "Engine", *, anchor: tuple[int, str] | None) -> "Verification":
    from ledger.audit_verify import verify as run

    with Console(stderr=True).status("Reading the audit log…") as status:
        return run(engine, anchor=anchor, progress=lambda num_rows: status.update(f"{num_rows:,} entries read…"))


def _anchor(given: str) -> tuple[int, str]:
    seq, _, digest = given.strip().partition(":")
    if not seq.isdecimal() or len(digest) != 64:
        raise ValueError(f"anchor {given!r} is not SEQ:HASH; give what chartloop audit head printed")
    return int(seq), digest


def _told(verification: "Verification") -> dict[str, Any]:
    return {
        "is_whole": verification.is_whole,
        "num_rows": verification.num_rows,
        "head": f"{verification.head_seq}:{verification.head_hash}",
        "num_faults": verification.num_faults,
        "faults": [
            {"seq": fault.seq, "kind": fault.kind.value, "detail": fault.detail} for fault in verification.faults
        ],
    }


def _show(verification: "Verification") -> None:
    console = Console()
    if verification.is_whole:
        console.print(f"whole: {verification.num_rows:,} entries, head", highlight=False)
        console.print(f"{verification.head_seq}:{verification.head_hash}", highlight=False, soft_wrap=True)
        return
    table = Table("entry", "fault", "what")
    for fault in verification.faults[:NUM_SHOWN]:
        table.add_row(f"{fault.seq}", fault.kind.value, fault.detail)
    console.print(table)
    more = f", {NUM_SHOWN} shown; --json gives up to a thousand" if verification.num_faults > NUM_SHOWN else ""
    console.print(f"{verification.num_faults:,} faults in {verification.num_rows:,} entries{more}", highlight=False)
