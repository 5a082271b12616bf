"""Where requests lie that outlive their connection: keys under which suggestions were asked, and jobs (stage 7).

A job is a list of requests that nobody waits for. The text of an item is there only until the item is
done: the suggestion keeps its own copy. Who works on items is not known here.
"""

from typing import Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from ledger.engine import UtcDateTime, metadata

__all__ = ["job_items", "jobs", "suggestion_keys"]

suggestion_keys: Final = Table(
    "suggestion_keys",
    metadata,
    Column("principal_id", String(36), ForeignKey("principals.id"), nullable=False),
    Column("idempotency_key", String(128), nullable=False),
    Column("body_sha256", String(64), nullable=False),
    Column("suggestion_id", String(36), ForeignKey("suggestions.id"), nullable=False),
    PrimaryKeyConstraint("principal_id", "idempotency_key"),
)

jobs: Final = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("principal_id", String(36), ForeignKey("principals.id"), nullable=False),
    Column("idempotency_key", String(128), nullable=True),
    Column("body_sha256", String(64), nullable=False),
    Column("trace_id", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("num_items", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, nullable=True),
    UniqueConstraint("principal_id", "idempotency_key", name="uq_jobs_principal_id"),
    CheckConstraint("state IN ('running', 'done', 'cancelled')", name="state"),
)

job_items: Final = Table(
    "job_items",
    metadata,
    Column("job_id", String(36), nullable=False),
    Column("line", Integer, nullable=False),
    Column("record_id", String(128), nullable=False),
    Column("request", Text, nullable=True),
    Column("state", String(16), nullable=False),
    Column("num_attempts", Integer, nullable=False),
    Column("leased_by", String(36), nullable=True),
    Column("leased_until", UtcDateTime, nullable=True),
    Column("suggestion_id", String(36), ForeignKey("suggestions.id"), nullable=True),
    Column("problem", Text, nullable=True),
    PrimaryKeyConstraint("job_id", "line"),
    ForeignKeyConstraint(["job_id"], ["jobs.id"]),
    CheckConstraint("state IN ('waiting', 'leased', 'answered', 'failed', 'cancelled')", name="state"),
    # Clinical text stays no longer than it is needed.
    CheckConstraint("(request IS NOT NULL) = (state IN ('waiting', 'leased'))", name="request"),
    Index("ix_job_items_state", "state", "job_id", "line"),
)
