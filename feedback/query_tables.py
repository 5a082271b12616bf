"""Where physician queries lie in the ledger (stage 8).

Both tables only grow. They hold ids, topics and hashes; the words of a query lie in the content of its
suggestion, which a retention policy may purge, and the words of an answer in the notes of the suggestion
that follows it.
"""

from typing import Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from ledger.engine import UtcDateTime, metadata

__all__ = ["physician_queries", "query_events"]

physician_queries: Final = Table(
    "physician_queries",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("suggestion_id", String(36), ForeignKey("suggestions.id"), nullable=False, index=True),
    # Whose it is: who asked for the suggestion, or for the one that this one follows.
    Column("principal_id", String(36), ForeignKey("principals.id"), nullable=False),
    Column("topic", String(128), nullable=False),
    Column("content_sha256", String(64), nullable=False),
    Column("drafted_at", UtcDateTime, nullable=False),
    Index("ix_physician_queries_drafted_at", "drafted_at", "id"),
)

query_events: Final = Table(
    "query_events",
    metadata,
    # A query passes through each state once at most; that it goes forward alone, a trigger sees to.
    Column("query_id", String(36), ForeignKey("physician_queries.id"), primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("principal_id", String(36), ForeignKey("principals.id"), nullable=False),
    Column("option", Integer, nullable=True),
    Column("documentation_amended", Boolean, nullable=True),
    Column("reason", String(16), nullable=True),
    Column("notes_sha256", String(64), nullable=True),
    # Suggestions of one encounter follow each other in one line: none has two that follow it.
    Column("supersedes_id", String(36), ForeignKey("suggestions.id"), nullable=True, unique=True),
    Column("new_suggestion_id", String(36), ForeignKey("suggestions.id"), nullable=True, unique=True),
    Column("idempotency_key", String(128), nullable=True),
    Column("body_sha256", String(64), nullable=True),
    UniqueConstraint("principal_id", "idempotency_key", name="uq_query_events_principal_id"),
    CheckConstraint("state IN ('sent', 'answered', 'closed')", name="state"),
    CheckConstraint("reason IN ('withdrawn', 'no-answer', 'resolved', 'superseded')", name="reason"),
)
