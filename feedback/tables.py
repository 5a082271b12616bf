"""Where feedback lies in the ledger (stages 8 to 10).

All tables only grow, but for ``cases``, which is the queue: what it says can be told from the others.
"""

from typing import Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from ledger.engine import UtcDateTime, metadata

__all__ = ["adjudications", "audit_draws", "cases", "decisions", "overrides"]

decisions: Final = Table(
    "decisions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("suggestion_id", String(36), ForeignKey("suggestions.id"), nullable=False, index=True),
    Column("principal_id", String(36), ForeignKey("principals.id"), nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("seconds_spent", Float, nullable=False),
    Column("idempotency_key", String(128), nullable=False),
    Column("body_sha256", String(64), nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("principal_id", "idempotency_key", name="uq_decisions_principal_id"),
    CheckConstraint("outcome IN ('decided', 'escalated', 'deferred')", name="outcome"),
    # A suggestion is decided once; it may be escalated or deferred before.
    Index(
        "uq_decisions_decided",
        "suggestion_id",
        unique=True,
        sqlite_where=text("outcome = 'decided'"),
        postgresql_where=text("outcome = 'decided'"),
    ),
)

overrides: Final = Table(
    "overrides",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("decision_id", String(36), ForeignKey("decisions.id"), nullable=False, index=True),
    Column("suggestion_id", String(36), ForeignKey("suggestions.id"), nullable=False, index=True),
    Column("principal_id", String(36), ForeignKey("principals.id"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("action", String(8), nullable=False),
    Column("system", String(16), nullable=False),
    Column("code", String(16), nullable=False),
    Column("to_code", String(16), nullable=True),
    Column("reason", String(64), nullable=False),
    CheckConstraint("action IN ('modify', 'reject', 'add')", name="action"),
)

audit_draws: Final = Table(
    "audit_draws",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("suggestion_id", String(36), ForeignKey("suggestions.id"), nullable=False, unique=True),
    Column("stratum", String(16), nullable=False),
    Column("probability", Float, nullable=False),
    Column("drawn_at", UtcDateTime, nullable=False),
    CheckConstraint("stratum IN ('accepted', 'autonomous')", name="stratum"),
    CheckConstraint("probability > 0 AND probability <= 1", name="probability"),
)

cases: Final = Table(
    "cases",
    metadata,
    Column("id", String(36), primary_key=True),  # of the override or of the audit draw
    Column("kind", String(8), nullable=False),
    Column("suggestion_id", String(36), ForeignKey("suggestions.id"), nullable=False, index=True),
    Column("coder_id", String(36), ForeignKey("principals.id"), nullable=True),
    Column("priority", Integer, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("state", String(8), nullable=False),
    Column("claimed_by", String(36), ForeignKey("principals.id"), nullable=True),
    Column("claimed_until", UtcDateTime, nullable=True),
    CheckConstraint("kind IN ('override', 'audit')", name="kind"),
    CheckConstraint("state IN ('open', 'closed')", name="state"),
    Index("ix_cases_queue", "state", "priority", "opened_at", "id"),
    # Who holds what: a handful of rows, whatever the queue's length.
    Index(
        "ix_cases_claimed_by",
        "claimed_by",
        sqlite_where=text("claimed_by IS NOT NULL"),
        postgresql_where=text("claimed_by IS NOT NULL"),
    ),
)

adjudications: Final = Table(
    "adjudications",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("case_id", String(36), ForeignKey("cases.id"), nullable=False),
    Column("suggestion_id", String(36), ForeignKey("suggestions.id"), nullable=False, index=True),
    Column("principal_id", String(36), ForeignKey("principals.id"), nullable=False),
    Column("adjudicated_at", UtcDateTime, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("codes", Text, nullable=False),
    Column("citation", Text, nullable=False),
    Column("round", Integer, nullable=False),
    Column("blinded", Boolean, nullable=False),
    UniqueConstraint("case_id", "round", name="uq_adjudications_case_id"),
    CheckConstraint("verdict IN ('ai-right', 'coder-right', 'both-wrong', 'policy-unclear')", name="verdict"),
)
