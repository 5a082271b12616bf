"""Principals: who may call, in which role, proven by a key.

The role says what a principal may do; which role may do what is decided where it is done.
This module does not know HTTP.

Keys are hashed with SHA-256, unsalted and fast. A key is 256 random bits, not a password: no
dictionary holds it and no attacker enumerates it, so the deliberate slowness of argon2 would
add nothing but 50 ms to each request, and a salt would forbid the look-up by hash.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import CheckConstraint, Column, Engine, Row, String, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from ledger.engine import UtcDateTime, metadata, writing

__all__ = [
    "LOCAL_KEY_FILE",
    "Principal",
    "Role",
    "authenticate",
    "create_key",
    "ensure_local_key",
    "list_principals",
    "replace_key",
    "revoke",
    "write_key_file",
]

KEY_PREFIX: Final = "cl_"
KEY_BYTES: Final = 32
MAX_NAME_CHARACTERS: Final = 128
LOCAL_PRINCIPAL: Final = "local"
LOCAL_KEY_FILE: Final = "local.key"


class Role(StrEnum):
    """What a principal is to the product."""

    SERVICE = "service"
    """A program: EHR module, billing system."""
    CODER = "coder"
    SUPERVISOR = "supervisor"
    REVIEWER = "reviewer"
    """Of models, in governance; never of patients."""
    ADMIN = "admin"


principals: Final = Table(
    "principals",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(MAX_NAME_CHARACTERS), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("key_hash", String(64), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime, nullable=True),
    CheckConstraint("role IN ('service', 'coder', 'supervisor', 'reviewer', 'admin')", name="role"),
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Someone or something that acts; never holds the key."""

    id: str
    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None


def create_key(engine: Engine, *, role: str, name: str) -> str:
    """Make a principal and its key.

    Args:
        engine: A migrated database.
        role: One of the five roles.
        name: Unique for all time: a revoked principal keeps its name, so that the record of
            what it did stays unambiguous.

    Returns:
        The key, which is stored nowhere: show it once.

    Raises:
        ValueError: The role is unknown, or the name is empty, too long or taken.
    """
    if role not in list(Role):
        raise ValueError(f"role {role!r} is not a role; choose one of {', '.join(Role)}")
    if not name.strip() or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise ValueError(f"name must hold 1 to {MAX_NAME_CHARACTERS} printable characters; it names who acts")
    key = _new_key()
    row = {"id": str(uuid.uuid4()), "name": name, "role": role, "key_hash": _hash(key), "created_at": datetime.now(UTC)}
    try:
        with writing(engine) as connection:
            connection.execute(insert(principals).values(row))
    except IntegrityError:
        raise ValueError(f"name {name!r} is taken, perhaps by a revoked principal; choose another name") from None
    return key


def replace_key(engine: Engine, *, name: str) -> str:
    """Give a principal a new key; the old one stops working.

    Raises:
        ValueError: There is no such principal, or it was revoked.
    """
    key = _new_key()
    living = (principals.c.name == name) & principals.c.revoked_at.is_(None)
    with writing(engine) as connection:
        result = connection.execute(update(principals).where(living).values(key_hash=_hash(key)))
    if result.rowcount == 0:
        raise ValueError(f"no principal {name!r} that is not revoked; create it under a new name")
    return key


def authenticate(engine: Engine, key: str) -> Principal | None:
    """Find who holds a key.

    Returns:
        The principal, or None when the key is unknown or revoked.
    """
    digest = _hash(key)
    with engine.connect() as connection:
        row = connection.execute(select(principals).where(principals.c.key_hash == digest)).one_or_none()
    # The index compares hashes, of which a caller controls nothing; the last word is constant-time.
    if row is None or not hmac.compare_digest(row.key_hash, digest) or row.revoked_at is not None:
        return None
    return _principal(row)


def revoke(engine: Engine, *, name: str) -> None:
    """End a principal's key for good. Revoking twice keeps the first moment.

    Raises:
        ValueError: There is no such principal.
    """
    with writing(engine) as connection:
        if connection.execute(select(principals.c.id).where(principals.c.name == name)).one_or_none() is None:
            raise ValueError(f"no principal {name!r}; list them to see the names")
        living = (principals.c.name == name) & principals.c.revoked_at.is_(None)
        connection.execute(update(principals).where(living).values(revoked_at=datetime.now(UTC)))


def list_principals(engine: Engine) -> tuple[Principal, ...]:
    """List all principals, revoked ones included, oldest first."""
    with engine.connect() as connection:
        rows = connection.execute(select(principals).order_by(principals.c.created_at, principals.c.name)).all()
    return tuple(_principal(row) for row in rows)


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

    A file that was lost, or is of another database, is written anew and its old key ends.

    Returns:
        False when an administrator revoked ``local``: that is respected, and the file left alone.
    """
    if path.is_file() and authenticate(engine, path.read_text(encoding="ascii").strip()) is not None:
        return True
    known = {principal.name: principal for principal in list_principals(engine)}
    local = known.get(LOCAL_PRINCIPAL)
    if local is not None and local.revoked_at is not None:
        return False
    if local is None:
        write_key_file(path, create_key(engine, role=Role.CODER, name=LOCAL_PRINCIPAL))
    else:
        write_key_file(path, replace_key(engine, name=LOCAL_PRINCIPAL))
    return True


def _new_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _principal(row: Row[Any]) -> Principal:
    return Principal(
        id=row.id, name=row.name, role=Role(row.role), created_at=row.created_at, revoked_at=row.revoked_at
    )
