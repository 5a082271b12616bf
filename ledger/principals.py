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
import platform
import secrets
import tempfile
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import CheckConstraint, Column, Connection, Engine, Row, String, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from ledger.audit_log import append
from ledger.engine import UtcDateTime, metadata
from ledger.group_commit import write

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


def create_key(engine: Engine, *, role: str, name: str, acting: Principal | None = None) -> str:
    """Make a principal and its key.

    Args:
        engine: A migrated database.
        role: One of the five roles.
        name: Unique for all time: a revoked principal keeps its name, so that the record of
            what it did stays unambiguous.
        acting: Who makes it; None when it makes itself, as the first on a machine does.

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
    try:
        write(engine, lambda connection: _create(connection, key, role=Role(role), name=name, acting=acting))
    except IntegrityError:
        raise ValueError(f"name {name!r} is taken, perhaps by a revoked principal; choose another name") from None
    return key


def replace_key(engine: Engine, *, name: str, acting: Principal | None = None) -> str:
    """Give a principal a new key; the old one stops working.

    Args:
        engine: A migrated database.
        name: Of the principal.
        acting: Who replaces it; None when the principal itself does.

    Raises:
        ValueError: There is no such principal, or it was revoked.
    """
    key = _new_key()

    def work(connection: Connection) -> None:
        principal = _named(connection, name)
        if principal is None or principal.revoked_at is not None:
            raise ValueError(f"no principal {name!r} that is not revoked; create it under a new name")
        _replace(connection, key, principal=principal, acting=acting)

    write(engine, work)
    return key


def authenticate(engine: Engine, key: str) -> Principal | None:
    """Find who holds a key.

    Returns:
        The principal, or None when the key is unknown or revoked.
    """
    with engine.connect() as connection:
        return _holder(connection, key)


def revoke(engine: Engine, *, name: str, acting: Principal | None = None) -> None:
    """End a principal's key for good. Revoking twice keeps the first moment.

    Args:
        engine: A migrated database.
        name: Of the principal.
        acting: Who revokes it; None when the principal itself does.

    Raises:
        ValueError: There is no such principal.
    """

    def work(connection: Connection) -> None:
        principal = _named(connection, name)
        if principal is None:
            raise ValueError(f"no principal {name!r}; list them to see the names")
        if principal.revoked_at is None:
            change = update(principals).where(principals.c.id == principal.id)
            connection.execute(change.values(revoked_at=datetime.now(UTC)))
            _log(connection, "key-revoked", principal=principal, acting=acting)

    write(engine, work)


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
        local, key = _named(connection, name), _new_key()
        if local is not None and local.revoked_at is not None:
            return False
        if local is None:
            _create(connection, key, role=Role.CODER, name=name, acting=None)
        else:
            _replace(connection, key, principal=local, acting=None)
        # Before the commit, while others wait: should it fail, the file is of no use and is healed next time.
        write_key_file(path, key)
        return True

    return write(engine, work)


def _holds_working_key(connection: Connection, path: Path) -> bool:
    return path.is_file() and _holder(connection, path.read_text(encoding="ascii").strip()) is not None


def _holder(connection: Connection, key: str) -> Principal | None:
    digest = _hash(key)
    row = connection.execute(select(principals).where(principals.c.key_hash == digest)).one_or_none()
    # The index compares hashes, of which a caller controls nothing; the last word is constant-time.
    if row is None or not hmac.compare_digest(row.key_hash, digest) or row.revoked_at is not None:
        return None
    return _principal(row)


def _name_of_place(path: Path) -> str:
    place = hashlib.sha256(f"{platform.node()}:{path.resolve()}".encode())
    return f"{LOCAL_PRINCIPAL}-{place.hexdigest()[:8]}"


def _create(connection: Connection, key: str, *, role: Role, name: str, acting: Principal | None) -> None:
    principal = Principal(id=str(uuid.uuid4()), name=name, role=role, created_at=datetime.now(UTC), revoked_at=None)
    connection.execute(insert(principals).values(**asdict(principal), key_hash=_hash(key)))
    _log(connection, "key-created", principal=principal, acting=acting)


def _replace(connection: Connection, key: str, *, principal: Principal, acting: Principal | None) -> None:
    change = update(principals).where(principals.c.id == principal.id)
    connection.execute(change.values(key_hash=_hash(key)))
    _log(connection, "key-replaced", principal=principal, acting=acting)


def _log(connection: Connection, action: str, *, principal: Principal, acting: Principal | None) -> None:
    details = {"name": principal.name, "role": principal.role.value}
    append(
        connection, principal=acting or principal, action=action, subject=f"principal:{principal.id}", details=details
    )


def _named(connection: Connection, name: str) -> Principal | None:
    row = connection.execute(select(principals).where(principals.c.name == name)).one_or_none()
    return None if row is None else _principal(row)


def _new_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _principal(row: Row[Any]) -> Principal:
    return Principal(
        id=row.id, name=row.name, role=Role(row.role), created_at=row.created_at, revoked_at=row.revoked_at
    )
