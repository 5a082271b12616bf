"""Keys under which suggestions were asked, and jobs."""

import sqlalchemy as sa
from alembic import op

from ledger.migrations.append_only import forbid, forbid_replacing

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and their triggers."""
    op.create_table(
        "suggestion_keys",
        sa.Column("principal_id", sa.String(36), nullable=False),
        sa.Column("idempotency_key", sa.String(128), nullable=False),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("suggestion_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("principal_id", "idempotency_key", name="pk_suggestion_keys"),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], name="fk_suggestion_keys_principal_id_principals"),
        sa.ForeignKeyConstraint(
            ["suggestion_id"], ["suggestions.id"], name="fk_suggestion_keys_suggestion_id_suggestions"
        ),
    )
    forbid("suggestion_keys", "UPDATE", "DELETE")
    forbid_replacing("suggestion_keys", "principal_id = NEW.principal_id AND idempotency_key = NEW.idempotency_key")
    _make_jobs()
    _make_job_items()


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("principal_id", sa.String(36), nullable=False),
        sa.Column("idempotency_key", sa.String(128), nullable=True),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("num_items", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], name="fk_jobs_principal_id_principals"),
        sa.UniqueConstraint("principal_id", "idempotency_key", name="uq_jobs_principal_id"),
        sa.CheckConstraint("state IN ('running', 'done', 'cancelled')", name="ck_jobs_state"),
    )
    forbid("jobs", "DELETE")
    forbid_replacing("jobs", "id = NEW.id", "principal_id = NEW.principal_id AND idempotency_key = NEW.idempotency_key")


def _make_job_items() -> None:
    op.create_table(
        "job_items",
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("line", sa.Integer, nullable=False),
        sa.Column("record_id", sa.String(128), nullable=False),
        sa.Column("request", sa.Text, nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("num_attempts", sa.Integer, nullable=False),
        sa.Column("leased_by", sa.String(36), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("suggestion_id", sa.String(36), nullable=True),
        sa.Column("problem", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("job_id", "line", name="pk_job_items"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_items_job_id_jobs"),
        sa.ForeignKeyConstraint(["suggestion_id"], ["suggestions.id"], name="fk_job_items_suggestion_id_suggestions"),
        sa.CheckConstraint(
            "state IN ('waiting', 'leased', 'answered', 'failed', 'cancelled')", name="ck_job_items_state"
        ),
        sa.CheckConstraint("(request IS NOT NULL) = (state IN ('waiting', 'leased'))", name="ck_job_items_request"),
    )
    op.create_index("ix_job_items_state", "job_items", ["state", "job_id", "line"])
    forbid("job_items", "DELETE")
    forbid_replacing("job_items", "job_id = NEW.job_id AND line = NEW.line")


def downgrade() -> None:
    """Refuse: what must never be lost is not dropped by a command."""
    raise NotImplementedError("the ledger is not taken back; restore a backup instead")
