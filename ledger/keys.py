"""Keys: what proves a principal, for what, until when, and how often.

Keys are hashed with SHA-256, unsalted and fast. A key is 256 random bits, not a password: no
dictionary holds it and no attacker enumerates it, so the deliberate slowness of argon2 would
add nothing but 50 ms to each request, and a salt would forbid the look-up by hash. A principal may
hold several keys, which is how one is changed without an outage. This module knows neither roles nor
what a scope allows; who makes, changes and ends keys, and the record of it, is ``ledger.principals``.
"""

import hashlib
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Integer,
    String,
    Table,
    insert,
    or_,
    select,
    update,
)

from ledger.engine import UtcDateTime, metadata

if TYPE_CHECKING:
    from ledger.principals import Principal

__all__ = [
    "EVERYTHING",
    "HeldKey",
    "KeyTerms",
    "Scope",
    "add_key",
    "check_overlap",
    "end_keys",
    "hash_key",
    "is_working",
    "keys",
    "new_key",
    "newest_terms",
    "read_scopes",
]

KEY_PREFIX: Final = "cl_"
KEY_BYTES: Final = 32
MAX_OVERLAP: Final = timedelta(days=90)
MAX_REQUESTS_PER_MINUTE: Final = 1_000_000


class Scope(StrEnum):
    """What a key is for; it narrows what its principal's role may do, and never widens it."""

    SUGGEST = "suggest"
    """Ask for suggestions."""
    READ = "read"
    """Read back what is stored."""
    DECIDE = "decide"
    """Answer suggestions."""
    ADJUDICATE = "adjudicate"
    """Judge cases."""
    QUERY = "query"
    """Send, answer and close queries to physicians."""
    GOVERN = "govern"
    """See and change which version serves."""
    EHR = "ehr"
    """Speak FHIR and CDS Hooks."""
    OPERATE = "operate"
    """Read the gateway's metrics."""


keys: Final = Table(
    "keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("principal_id", String(36), ForeignKey("principals.id"), nullable=False, index=True),
    Column("key_hash", String(64), nullable=False, unique=True),
    Column("scopes", String(160), nullable=True),
    Column("requests_per_minute", Integer, nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=True),
    Column("revoked_at", UtcDateTime, nullable=True),
    CheckConstraint("requests_per_minute > 0", name="requests_per_minute"),
)


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key is good for."""

    scopes: frozenset[Scope] | None = None
    """None for all that the role may do."""
    lifetime: timedelta | None = None
    """None for a key that does not expire."""
    requests_per_minute: int | None = None
    """None for what the gateway allows any key."""

    @classmethod
    def checked(
        cls, *, scopes: Sequence[str], lifetime: timedelta | None, requests_per_minute: int | None
    ) -> "KeyTerms":
        """Check what a user asked for; no scopes are all.

        Raises:
            ValueError: A scope is unknown, or a number is out of bounds.
        """
        for scope in scopes:
            if scope not in list(Scope):
                raise ValueError(f"scope {scope!r} is not a scope; choose of {', '.join(Scope)}")
        if lifetime is not None and not timedelta(0) < lifetime <= timedelta(days=36_500):
            raise ValueError("a key must expire in the future, within 100 years; give an expiry such as 90d")
        if requests_per_minute is not None and not 0 < requests_per_minute <= MAX_REQUESTS_PER_MINUTE:
            raise ValueError(
                f"requests per minute are {requests_per_minute}; choose from 1 to {MAX_REQUESTS_PER_MINUTE:,}"
            )
        return cls(frozenset(map(Scope, scopes)) or None, lifetime, requests_per_minute)

    def describe(self) -> dict[str, Any]:
        """Say what differs from a key for everything and for ever, for the audit log."""
        told = {
            "scopes": None if self.scopes is None else sorted(self.scopes),
            "lifetime_seconds": None if self.lifetime is None else self.lifetime.total_seconds(),
            "requests_per_minute": self.requests_per_minute,
        }
        return {name: value for name, value in told.items() if value is not None}


EVERYTHING: Final = KeyTerms()


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key that works, without the key itself."""

    id: str
    principal: "Principal"
    scopes: frozenset[Scope] | None
    """None for all that the role may do."""
    expires_at: datetime | None
    requests_per_minute: int | None
    """None for what the gateway allows any key."""


def check_overlap(overlap: timedelta) -> None:
    """Check how long a key may go on beside the next one.

    Raises:
        ValueError: It is negative, or longer than 90 days.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise ValueError(f"overlap must be between 0 and {MAX_OVERLAP.days} days; give one such as 24h")


def new_key() -> str:
    """Make a key."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def hash_key(key: str) -> str:
    """The hash under which a key is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def add_key(connection: Connection, key: str, *, principal_id: str, terms: KeyTerms) -> str:
    """Store the hash of a key.

    Returns:
        The id of the key.
    """
    key_id, now = str(uuid.uuid4()), datetime.now(UTC)
    row = {
        "id": key_id,
        "principal_id": principal_id,
        "key_hash": hash_key(key),
        "scopes": None if terms.scopes is None else " ".join(sorted(terms.scopes)),
        "requests_per_minute": terms.requests_per_minute,
        "created_at": now,
        "expires_at": None if terms.lifetime is None else now + terms.lifetime,
    }
    connection.execute(insert(keys).values(row))
    return key_id


def end_keys(connection: Connection, *, principal_id: str, overlap: timedelta) -> None:
    """End all working keys of a principal, at once or after an overlap."""
    now = datetime.now(UTC)
    mine = update(keys).where(keys.c.principal_id == principal_id, keys.c.revoked_at.is_(None))
    if not overlap:
        connection.execute(mine.values(revoked_at=now))
        return
    later = or_(keys.c.expires_at.is_(None), keys.c.expires_at > now + overlap)
    connection.execute(mine.where(later).values(expires_at=now + overlap))


def is_working(now: datetime) -> ColumnElement[bool]:
    """Whether a key is neither revoked nor expired."""
    return keys.c.revoked_at.is_(None) & or_(keys.c.expires_at.is_(None), keys.c.expires_at > now)


def newest_terms(connection: Connection, *, principal_id: str) -> KeyTerms:
    """The terms of a principal's newest key, which the next one takes over."""
    mine = select(keys).where(keys.c.principal_id == principal_id)
    row = connection.execute(mine.order_by(keys.c.created_at.desc(), keys.c.id).limit(1)).one_or_none()
    if row is None:
        return KeyTerms()
    lifetime = None if row.expires_at is None else row.expires_at - row.created_at
    return KeyTerms(read_scopes(row.scopes), lifetime, row.requests_per_minute)


def read_scopes(stored: str | None) -> frozenset[Scope] | None:
    """Read scopes as they are stored."""
    return None if stored is None else frozenset(map(Scope, stored.split()))
