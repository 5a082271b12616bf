"""The key of the coder ``local``: for use on one machine with no set-up.

It is made at first start, and lies in a file that only its owner may read. Who holds it is a principal like
any other.
"""

import hashlib
import os
import platform
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine

from ledger.group_commit import write
from ledger.keys import EVERYTHING, new_key
from ledger.principals import Role, add_principal, held_key, named, put_key

__all__ = ["LOCAL_KEY_FILE", "ensure_local_key", "write_key_file"]

LOCAL_PRINCIPAL: Final = "local"
LOCAL_KEY_FILE: Final = "local.key"


def write_key_file(path: Path, key: str) -> None:
    """Write a key where only its owner may read it (0600), whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes 0600
    try:
        with open(descriptor, "w", encoding="ascii") as stream:
            stream.write(f"{key}\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def ensure_local_key(engine: Engine, path: Path) -> bool:
    """See to it that ``path`` holds a working key of the coder ``local``, for use with no set-up.

    A file that was lost, or is of another database, is written anew and its old key ends. On
    PostgreSQL, which several machines and data directories may share, each has a local coder of
    its own, named after where it is, so that none ends the key of another.

    Returns:
        False when an administrator revoked ``local``: that is respected, and the file left alone.
    """
    with engine.connect() as connection:
        if _holds_working_key(connection, path):
            return True
    name = LOCAL_PRINCIPAL if engine.dialect.name == "sqlite" else _name_of_place(path)

    def work(connection: Connection) -> bool:
        # Whoever else found no key has written it by now, if it came first.
        if _holds_working_key(connection, path):
            return True
        local, key = named(connection, name), new_key()
        if local is not None and local.revoked_at is not None:
            return False
        if local is None:
            add_principal(connection, key, role=Role.CODER, name=name, terms=EVERYTHING, acting=None)
        else:
            put_key(connection, key, principal=local, overlap=timedelta(0), lifetime=None, acting=None)
        # Before the commit, while others wait: should it fail, the file is of no use and is healed next time.
        write_key_file(path, key)
        return True

    return write(engine, work)


def _holds_working_key(connection: Connection, path: Path) -> bool:
    return path.is_file() and held_key(connection, path.read_text(encoding="ascii").strip()) is not None


def _name_of_place(path: Path) -> str:
    place = hashlib.sha256(f"{platform.node()}:{path.resolve()}".encode())
    return f"{LOCAL_PRINCIPAL}-{place.hexdigest()[:8]}"
