"""Principals: who may call, in which role, proven by a key or by an issuer that vouches for them.

The role says what a principal may do; which role may do what is decided where it is done.
This module does not know HTTP.
"""

import hmac
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Row,
    Select,
    String,
    Table,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from ledger.audit_log import append
from ledger.engine import UtcDateTime, metadata
from ledger.group_commit import write
from ledger.keys import (
    EVERYTHING,
    HeldKey,
    KeyTerms,
    add_key,
    check_overlap,
    end_keys,
    hash_key,
    is_working,
    keys,
    new_key,
    newest_terms,
    read_scopes,
)

__all__ = [
    "Principal",
    "Role",
    "add_principal",
    "as_principal",
    "authenticate",
    "create_key",
    "find_key",
    "held_key",
    "list_principals",
    "named",
    "principals",
    "put_key",
    "replace_key",
    "revoke",
    "rotate_key",
]

MAX_NAME_CHARACTERS: Final = 128


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
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime, nullable=True),
    # Who vouches for it, and may change its role; null where it holds keys.
    Column("issuer", String(512), nullable=True),
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


def create_key(
    engine: Engine, *, role: str, name: str, terms: KeyTerms = EVERYTHING, acting: Principal | None = None
) -> str:
    """Make a principal and its key.

    Args:
        engine: A migrated database.
        role: One of the five roles.
        name: Unique for all time: a revoked principal keeps its name, so that the record of
            what it did stays unambiguous.
        terms: What the key is good for.
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
    key = new_key()
    try:
        write(
            engine,
            lambda connection: add_principal(connection, key, role=Role(role), name=name, terms=terms, acting=acting),
        )
    except IntegrityError:
        raise ValueError(f"name {name!r} is taken, perhaps by a revoked principal; choose another name") from None
    return key


def replace_key(engine: Engine, *, name: str, acting: Principal | None = None) -> str:
    """Give a principal a new key on the terms of the old one, which stops working.

    Args:
        engine: A migrated database.
        name: Of the principal.
        acting: Who replaces it; None when the principal itself does.

    Raises:
        ValueError: There is no such principal, it was revoked, or it holds no keys.
    """
    return rotate_key(engine, name=name, overlap=timedelta(0), acting=acting)


def rotate_key(
    engine: Engine,
    *,
    name: str,
    overlap: timedelta,
    lifetime: timedelta | None = None,
    acting: Principal | None = None,
) -> str:
    """Give a principal a new key on the terms of the newest; the others work until the overlap ends.

    Args:
        engine: A migrated database.
        name: Of the principal.
        overlap: How long keys that were given before go on working; none at all when zero.
        lifetime: Of the new key; as long as the newest had when None.
        acting: Who rotates it; None when the principal itself does.

    Raises:
        ValueError: There is no such principal, it was revoked, or it holds no keys.
    """
    check_overlap(overlap)
    key = new_key()

    def work(connection: Connection) -> None:
        row = connection.execute(select(principals).where(principals.c.name == name)).one_or_none()
        if row is None or row.revoked_at is not None or row.issuer is not None:
            raise ValueError(f"no principal {name!r} that holds keys and is not revoked; create it under a new name")
        put_key(connection, key, principal=as_principal(row), overlap=overlap, lifetime=lifetime, acting=acting)

    write(engine, work)
    return key


def authenticate(engine: Engine, key: str) -> Principal | None:
    """Find who holds a key; None when it is unknown, expired or revoked."""
    held = find_key(engine, key)
    return None if held is None else held.principal


def find_key(engine: Engine, key: str) -> HeldKey | None:
    """Find a key that works, with its holder and its terms."""
    with engine.connect() as connection:
        return held_key(connection, key)


def revoke(engine: Engine, *, name: str, acting: Principal | None = None) -> None:
    """End a principal and all its keys for good. Revoking twice keeps the first moment.

    Args:
        engine: A migrated database.
        name: Of the principal.
        acting: Who revokes it; None when the principal itself does.

    Raises:
        ValueError: There is no such principal.
    """

    def work(connection: Connection) -> None:
        principal = named(connection, name)
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
    return tuple(as_principal(row) for row in rows)


def held_key(connection: Connection, key: str) -> HeldKey | None:
    """Find a key that works, inside a transaction."""
    digest = hash_key(key)
    row = connection.execute(_by_hash(digest)).one_or_none()
    # The index compares hashes, of which a caller controls nothing; the last word is constant-time.
    if row is None or not hmac.compare_digest(row.key_hash, digest):
        return None
    return HeldKey(
        id=row.key_id,
        principal=as_principal(row),
        scopes=read_scopes(row.scopes),
        expires_at=row.expires_at,
        requests_per_minute=row.requests_per_minute,
    )


def _by_hash(digest: str) -> Select[Any]:
    terms = (keys.c.id.label("key_id"), keys.c.key_hash, keys.c.scopes, keys.c.expires_at, keys.c.requests_per_minute)
    joined = select(principals, *terms).join(keys, keys.c.principal_id == principals.c.id)
    return joined.where(keys.c.key_hash == digest, principals.c.revoked_at.is_(None), is_working(datetime.now(UTC)))


def add_principal(
    connection: Connection, key: str, *, role: Role, name: str, terms: KeyTerms, acting: Principal | None
) -> None:
    """Make a principal and its first key, inside a transaction."""
    principal = Principal(id=str(uuid.uuid4()), name=name, role=role, created_at=datetime.now(UTC), revoked_at=None)
    connection.execute(insert(principals).values(**asdict(principal)))
    key_id = add_key(connection, key, principal_id=principal.id, terms=terms)
    _log(connection, "key-created", principal=principal, acting=acting, key_id=key_id, **terms.describe())


def put_key(
    connection: Connection,
    key: str,
    *,
    principal: Principal,
    overlap: timedelta,
    lifetime: timedelta | None,
    acting: Principal | None,
) -> None:
    """Give a principal its next key, inside a transaction; see ``rotate_key``."""
    terms = newest_terms(connection, principal_id=principal.id)
    if lifetime is not None:
        terms = replace(terms, lifetime=lifetime)
    end_keys(connection, principal_id=principal.id, overlap=overlap)
    key_id = add_key(connection, key, principal_id=principal.id, terms=terms)
    told = {"overlap_seconds": overlap.total_seconds()} if overlap else {}
    action = "key-rotated" if overlap else "key-replaced"
    _log(connection, action, principal=principal, acting=acting, key_id=key_id, **told, **terms.describe())


def _log(connection: Connection, action: str, *, principal: Principal, acting: Principal | None, **more: Any) -> None:
    details = {"name": principal.name, "role": principal.role.value, **more}
    append(
        connection, principal=acting or principal, action=action, subject=f"principal:{principal.id}", details=details
    )


def named(connection: Connection, name: str) -> Principal | None:
    """Find a principal by name, inside a transaction."""
    row = connection.execute(select(principals).where(principals.c.name == name)).one_or_none()
    return None if row is None else as_principal(row)


def as_principal(row: Row[Any]) -> Principal:
    """Read a row of ``principals``."""
    return Principal(
        id=row.id, name=row.name, role=Role(row.role), created_at=row.created_at, revoked_at=row.revoked_at
    )
