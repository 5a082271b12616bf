"""Who acts on the command line: the principal behind a key, as over HTTP."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ledger.principals import Principal

__all__ = ["Key", "acting"]

Key = Annotated[
    str | None,
    typer.Option(
        "--key", envvar="CHARTLOOP_KEY", help="Your key; default: that of the local coder.", show_default=False
    ),
]


def acting(engine: "Engine", *, key: str | None, data_dir: Path) -> "Principal":
    """Find who acts.

    Args:
        engine: A migrated database.
        key: Of whoever acts; without one it is the coder ``local``, whose key file the data directory holds.
        data_dir: The data directory.

    Raises:
        ValueError: The key is unknown or revoked, or ``local`` was revoked.
    """
    from clinical_coding.data_directory import DataDirectory
    from ledger.local_key import LOCAL_KEY_FILE, ensure_local_key
    from ledger.principals import authenticate

    if key is None:
        path = DataDirectory.locate(data_dir).keys / LOCAL_KEY_FILE
        if not ensure_local_key(engine, path):
            raise ValueError("the local coder was revoked; give a key with --key or CHARTLOOP_KEY")
        key = path.read_text(encoding="ascii").strip()
    principal = authenticate(engine, key.strip())
    if principal is None:
        raise ValueError("the key is unknown or revoked; make one with `chartloop keys create`, and give it with --key")
    return principal
