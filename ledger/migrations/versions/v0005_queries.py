"""Physician queries and what becomes of them."""

import sqlalchemy as sa
from alembic import op

from ledger.migrations.append_only import forbid, forbid_replacing, refuse_unless

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _key(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=f"fk_{table}_{column}_{other}")


def upgrade() -> None:
    """Make the tables and their triggers."""
    _make_queries()
    _make_events()
    _guard_events()


def _make_queries() -> None:
    op.create_table(
        "physician_queries",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("suggestion_id", sa.String(36), nullable=False),
        sa.Column("principal_id", sa.String(36), nullable=False),
        sa.Column("topic", sa.String(128), nullable=False),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("drafted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_physician_queries"),
        _key("physician_queries", "suggestion_id", "suggestions"),
        _key("physician_queries", "principal_id", "principals"),
    )
    op.create_index("ix_physician_queries_suggestion_id", "physician_queries", ["suggestion_id"])
    op.create_index("ix_physician_queries_drafted_at", "physician_queries", ["drafted_at", "id"])
    forbid("physician_queries", "UPDATE", "DELETE")
    forbid_replacing("physician_queries", "id = NEW.id")


def _make_events() -> None:
    op.create_table(
        "query_events",
        sa.Column("query_id", sa.String(36), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("principal_id", sa.String(36), nullable=False),
        sa.Column("option", sa.Integer, nullable=True),
        sa.Column("documentation_amended", sa.Boolean, nullable=True),
        sa.Column("reason", sa.String(16), nullable=True),
        sa.Column("notes_sha256", sa.String(64), nullable=True),
        sa.Column("supersedes_id", sa.String(36), nullable=True),
        sa.Column("new_suggestion_id", sa.String(36), nullable=True),
        sa.Column("idempotency_key", sa.String(128), nullable=True),
        sa.Column("body_sha256", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("query_id", "state", name="pk_query_events"),
        _key("query_events", "query_id", "physician_queries"),
        _key("query_events", "principal_id", "principals"),
        _key("query_events", "supersedes_id", "suggestions"),
        _key("query_events", "new_suggestion_id", "suggestions"),
        sa.UniqueConstraint("principal_id", "idempotency_key", name="uq_query_events_principal_id"),
        sa.UniqueConstraint("supersedes_id", name="uq_query_events_supersedes_id"),
        sa.UniqueConstraint("new_suggestion_id", name="uq_query_events_new_suggestion_id"),
        sa.CheckConstraint("state IN ('sent', 'answered', 'closed')", name="ck_query_events_state"),
        sa.CheckConstraint(
            "reason IN ('withdrawn', 'no-answer', 'resolved', 'superseded')", name="ck_query_events_reason"
        ),
    )


def _guard_events() -> None:
    forbid("query_events", "UPDATE", "DELETE")
    forbid_replacing(
        "query_events",
        "query_id = NEW.query_id AND state = NEW.state",
        "principal_id = NEW.principal_id AND idempotency_key = NEW.idempotency_key",
        "supersedes_id = NEW.supersedes_id",
        "new_suggestion_id = NEW.new_suggestion_id",
    )
    refuse_unless(
        "NOT EXISTS (SELECT 1 FROM query_events WHERE query_id = NEW.query_id "
        "AND (state = 'closed' OR state = NEW.state OR NEW.state = 'sent')) "
        "AND (NEW.state <> 'answered' OR EXISTS "
        "(SELECT 1 FROM query_events WHERE query_id = NEW.query_id AND state = 'sent'))",
        table="query_events",
        operation="INSERT",
        message="takes only a state that follows the last: sent, answered, closed",
    )


def downgrade() -> None:
    """Refuse: what must never be lost is not dropped by a command."""
    raise NotImplementedError("the ledger is not taken back; restore a backup instead")
