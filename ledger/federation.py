"""Principals that an issuer vouches for, and the tokens of issuers that were used.

They hold no key: each request brings a token, and with it the role. A person is made at first sight, and the
record keeps each change of role. This module does not know how a token is checked.
"""

import hashlib
import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import Column, Connection, Engine, String, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from ledger.audit_log import append
from ledger.engine import UtcDateTime, metadata
from ledger.group_commit import write
from ledger.principals import MAX_NAME_CHARACTERS, Principal, Role, as_principal, principals

__all__ = ["federate", "note_token_use", "token_uses"]

_MAX_FORGOTTEN: Final = 100

token_uses: Final = Table(
    "token_uses",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)


def federate(engine: Engine, *, issuer: str, subject: str, role: Role) -> Principal | None:
    """Find the principal that an issuer vouches for, as it vouches now; make it at first sight.

    Args:
        engine: A migrated database.
        issuer: Who vouches.
        subject: Whom, in the issuer's own words.
        role: Which the issuer gives now.

    Returns:
        The principal; None when it was revoked here, or its name is somebody else's.
    """
    name = _name(issuer, subject)
    statement = select(principals).where(principals.c.name == name)
    with engine.connect() as connection:
        row = connection.execute(statement).one_or_none()
    if row is not None and row.issuer == issuer and row.role == role and row.revoked_at is None:
        return as_principal(row)

    def work(connection: Connection) -> Principal | None:
        row = connection.execute(statement).one_or_none()
        if row is None:
            return _make(connection, name=name, issuer=issuer, role=role)
        if row.issuer != issuer or row.revoked_at is not None:
            return None
        return _change(connection, as_principal(row), role=role)

    return write(engine, work)


def note_token_use(engine: Engine, *, issuer: str, token_id: str, expires_at: datetime) -> bool:
    """Note that a token was used, for all gateways on this database; forget some that have expired.

    Args:
        engine: A migrated database.
        issuer: Of the token.
        token_id: Its own id.
        expires_at: Until when it must be remembered.

    Returns:
        False when it was used before.
    """
    digest = hashlib.sha256(f"{issuer}\n{token_id}".encode()).hexdigest()

    def work(connection: Connection) -> None:
        old = select(token_uses.c.digest).where(token_uses.c.expires_at < datetime.now(UTC)).limit(_MAX_FORGOTTEN)
        connection.execute(delete(token_uses).where(token_uses.c.digest.in_(old)))
        connection.execute(insert(token_uses).values(digest=digest, expires_at=expires_at))

    try:
        write(engine, work)
    except IntegrityError:
        return False
    return True


def _name(issuer: str, subject: str) -> str:
    place = urlsplit(issuer).hostname or issuer
    name = f"{place}/{subject}"
    if len(name) <= MAX_NAME_CHARACTERS and name.isprintable():
        return name
    return f"{place[:60]}/{hashlib.sha256(f'{issuer}{subject}'.encode()).hexdigest()}"


def _make(connection: Connection, *, name: str, issuer: str, role: Role) -> Principal:
    principal = Principal(id=str(uuid.uuid4()), name=name, role=role, created_at=datetime.now(UTC), revoked_at=None)
    connection.execute(insert(principals).values(**asdict(principal), issuer=issuer))
    _log(connection, "principal-federated", principal, issuer=issuer)
    return principal


def _change(connection: Connection, principal: Principal, *, role: Role) -> Principal:
    if principal.role == role:
        return principal
    connection.execute(update(principals).where(principals.c.id == principal.id).values(role=role))
    changed = replace(principal, role=role)
    _log(connection, "principal-role-changed", changed, previous_role=principal.role.value)
    return changed


def _log(connection: Connection, action: str, principal: Principal, **more: str) -> None:
    details = {"name": principal.name, "role": principal.role.value, **more}
    append(connection, principal=principal, action=action, subject=f"principal:{principal.id}", details=details)
