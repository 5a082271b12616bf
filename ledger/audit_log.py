"""The audit log: who did what, when; append-only, each row chained to the one before by its hash.

An entry is canonical JSON (sorted keys, no spaces, UTF-8), and its hash is the SHA-256 of the hash
before it and the entry (Crosby and Wallach 2009, Efficient Data Structures for Tamper-Evident
Logging, for the idea and its limits). A changed, removed or moved row breaks the chain where it
stood. The head row names the last entry, so that rows cut off at the end are missed too; whoever
may rewrite the whole database can forge a whole chain, against which a head that is kept elsewhere
helps (``ledger.audit_verify``). It does not know what the actions mean. Entries hold ids, hashes and
counts, never clinical text.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    String,
    Table,
    Text,
    insert,
    select,
)

from ledger.engine import metadata

if TYPE_CHECKING:
    from ledger.principals import Principal

__all__ = ["GENESIS", "HEAD_ID", "Entry", "append", "append_all", "audit_head", "audit_log", "chain", "entries"]

GENESIS: Final = "0" * 64
HEAD_ID: Final = 1

audit_log: Final = Table(
    "audit_log",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("action", String(64), nullable=False, index=True),
    Column("subject", String(160), nullable=False, index=True),
    Column("entry", Text, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

audit_head: Final = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)


# Made once: making a statement costs as much as running it.
_HEAD: Final = select(audit_head.c.seq, audit_head.c.hash).where(audit_head.c.id == HEAD_ID).with_for_update()
_ADD: Final = insert(audit_log)


def chain(previous_hash: str, entry: str) -> str:
    """The hash of an entry in its place."""
    return hashlib.sha256(f"{previous_hash}\n{entry}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be added to the chain."""

    principal: "Principal"
    """Who acts."""
    action: str
    """What was done, as ``decision-made``."""
    subject: str
    """What it was done to, as ``decision:0193…``."""
    details: Mapping[str, Any]
    """More, ready for JSON; ids, hashes, counts, reason codes; never clinical text."""


def append(
    connection: Connection, *, principal: "Principal", action: str, subject: str, details: Mapping[str, Any]
) -> int:
    """Add an entry to the chain, in the transaction that does what the entry tells.

    Args:
        connection: Inside ``ledger.group_commit.write``. Who appends waits for other appenders to commit.
        principal: Who acts.
        action: What was done, as ``decision-made``.
        subject: What it was done to, as ``decision:0193…``.
        details: More, ready for JSON; ids, hashes, counts, reason codes; never clinical text.

    Returns:
        The sequence number of the entry.
    """
    return append_all(connection, [Entry(principal, action, subject, details)])


def append_all(connection: Connection, added: Sequence[Entry]) -> int:
    """Add entries to the chain, in this order, at the cost of little more than one.

    Args:
        connection: Inside ``ledger.group_commit.write``. Who appends waits for other appenders to commit.
        added: One entry or more.

    Returns:
        The sequence number of the last.
    """
    head = connection.execute(_HEAD).one()
    seq, previous_hash = int(head.seq), str(head.hash)
    rows = []
    for new in added:
        seq += 1
        entry = _canonical(new, seq=seq)
        digest = chain(previous_hash, entry)
        rows.append(
            {
                "seq": seq,
                "action": new.action,
                "subject": new.subject,
                "entry": entry,
                "previous_hash": previous_hash,
                "hash": digest,
            }
        )
        previous_hash = digest
    # A trigger moves the head.
    connection.execute(_ADD, rows)
    return seq


def _canonical(new: Entry, *, seq: int) -> str:
    return json.dumps(
        {
            "seq": seq,
            "at": datetime.now(UTC).isoformat(timespec="microseconds"),
            "principal_id": new.principal.id,
            "principal": new.principal.name,
            "role": new.principal.role.value,
            "action": new.action,
            "subject": new.subject,
            "details": dict(new.details),
        },
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )


def entries(
    engine: Engine, *, subject: str | None = None, action: str | None = None, limit: int
) -> tuple[dict[str, Any], ...]:
    """Read entries, the newest first.

    Args:
        engine: A migrated database.
        subject: Of this subject alone.
        action: Of this action alone.
        limit: How many at most.
    """
    statement = select(audit_log.c.entry).order_by(audit_log.c.seq.desc()).limit(limit)
    if subject is not None:
        statement = statement.where(audit_log.c.subject == subject)
    if action is not None:
        statement = statement.where(audit_log.c.action == action)
    with engine.connect() as connection:
        return tuple(json.loads(entry) for entry in connection.scalars(statement))
