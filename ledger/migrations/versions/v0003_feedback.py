"""Decisions, overrides, audit draws, the queue, adjudications."""

import sqlalchemy as sa
from alembic import op

from ledger.migrations.append_only import forbid, forbid_replacing

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _key(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=f"fk_{table}_{column}_{other}")


def upgrade() -> None:
    """Make the tables and their triggers."""
    _make_decisions()
    _make_cases()
    for table in ("decisions", "overrides", "audit_draws", "adjudications"):
        forbid(table, "UPDATE", "DELETE")
    forbid("cases", "DELETE")
    forbid_replacing(
        "decisions",
        "id = NEW.id",
        "principal_id = NEW.principal_id AND idempotency_key = NEW.idempotency_key",
        "suggestion_id = NEW.suggestion_id AND outcome = 'decided' AND NEW.outcome = 'decided'",
    )
    forbid_replacing("overrides", "id = NEW.id")
    forbid_replacing("audit_draws", "id = NEW.id", "suggestion_id = NEW.suggestion_id")
    forbid_replacing("cases", "id = NEW.id")
    forbid_replacing("adjudications", "id = NEW.id", "case_id = NEW.case_id AND round = NEW.round")


def _make_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("suggestion_id", sa.String(36), nullable=False),
        sa.Column("principal_id", sa.String(36), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("seconds_spent", sa.Float, nullable=False),
        sa.Column("idempotency_key", sa.String(128), nullable=False),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        _key("decisions", "suggestion_id", "suggestions"),
        _key("decisions", "principal_id", "principals"),
        sa.UniqueConstraint("principal_id", "idempotency_key", name="uq_decisions_principal_id"),
        sa.CheckConstraint("outcome IN ('decided', 'escalated', 'deferred')", name="ck_decisions_outcome"),
    )
    op.create_index("ix_decisions_suggestion_id", "decisions", ["suggestion_id"])
    op.create_index(
        "uq_decisions_decided",
        "decisions",
        ["suggestion_id"],
        unique=True,
        sqlite_where=sa.text("outcome = 'decided'"),
        postgresql_where=sa.text("outcome = 'decided'"),
    )
    op.create_table(
        "overrides",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("decision_id", sa.String(36), nullable=False),
        sa.Column("suggestion_id", sa.String(36), nullable=False),
        sa.Column("principal_id", sa.String(36), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("system", sa.String(16), nullable=False),
        sa.Column("code", sa.String(16), nullable=False),
        sa.Column("to_code", sa.String(16), nullable=True),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_overrides"),
        _key("overrides", "decision_id", "decisions"),
        _key("overrides", "suggestion_id", "suggestions"),
        _key("overrides", "principal_id", "principals"),
        sa.CheckConstraint("action IN ('modify', 'reject', 'add')", name="ck_overrides_action"),
    )
    op.create_index("ix_overrides_decision_id", "overrides", ["decision_id"])
    op.create_index("ix_overrides_suggestion_id", "overrides", ["suggestion_id"])


def _make_cases() -> None:
    op.create_table(
        "audit_draws",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("suggestion_id", sa.String(36), nullable=False),
        sa.Column("stratum", sa.String(16), nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
        sa.Column("drawn_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_draws"),
        _key("audit_draws", "suggestion_id", "suggestions"),
        sa.UniqueConstraint("suggestion_id", name="uq_audit_draws_suggestion_id"),
        sa.CheckConstraint("stratum IN ('accepted', 'autonomous')", name="ck_audit_draws_stratum"),
        sa.CheckConstraint("probability > 0 AND probability <= 1", name="ck_audit_draws_probability"),
    )
    op.create_table(
        "cases",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("suggestion_id", sa.String(36), nullable=False),
        sa.Column("coder_id", sa.String(36), nullable=True),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("claimed_by", sa.String(36), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_cases"),
        _key("cases", "suggestion_id", "suggestions"),
        _key("cases", "coder_id", "principals"),
        _key("cases", "claimed_by", "principals"),
        sa.CheckConstraint("kind IN ('override', 'audit')", name="ck_cases_kind"),
        sa.CheckConstraint("state IN ('open', 'closed')", name="ck_cases_state"),
    )
    op.create_index("ix_cases_suggestion_id", "cases", ["suggestion_id"])
    op.create_index("ix_cases_queue", "cases", ["state", "priority", "opened_at", "id"])
    op.create_index(
        "ix_cases_claimed_by",
        "cases",
        ["claimed_by"],
        sqlite_where=sa.text("claimed_by IS NOT NULL"),
        postgresql_where=sa.text("claimed_by IS NOT NULL"),
    )
    op.create_table(
        "adjudications",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("case_id", sa.String(36), nullable=False),
        sa.Column("suggestion_id", sa.String(36), nullable=False),
        sa.Column("principal_id", sa.String(36), nullable=False),
        sa.Column("adjudicated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("codes", sa.Text, nullable=False),
        sa.Column("citation", sa.Text, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("blinded", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_adjudications"),
        _key("adjudications", "case_id", "cases"),
        _key("adjudications", "suggestion_id", "suggestions"),
        _key("adjudications", "principal_id", "principals"),
        sa.UniqueConstraint("case_id", "round", name="uq_adjudications_case_id"),
        sa.CheckConstraint(
            "verdict IN ('ai-right', 'coder-right', 'both-wrong', 'policy-unclear')", name="ck_adjudications_verdict"
        ),
    )
    op.create_index("ix_adjudications_suggestion_id", "adjudications", ["suggestion_id"])


def downgrade() -> None:
    """Refuse: what must never be lost is not dropped by a command."""
    raise NotImplementedError("the ledger is not taken back; restore a backup instead")
