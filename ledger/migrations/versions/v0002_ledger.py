"""The audit log and the stored suggestions."""

import sqlalchemy as sa
from alembic import op

from ledger.migrations.append_only import forbid

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, their triggers, and the head of an empty chain."""
    op.create_table(
        "audit_log",
        sa.Column("seq", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(160), nullable=False),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_action", "audit_log", ["action"])
    op.create_index("ix_audit_log_subject", "audit_log", ["subject"])
    forbid("audit_log", "UPDATE", "DELETE")
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "hash": "0" * 64}])
    forbid("audit_head", "DELETE")
    op.create_table(
        "suggestions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("principal_id", sa.String(36), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record_id", sa.String(128), nullable=False),
        sa.Column("patient_id", sa.String(128), nullable=True),
        sa.Column("specialty", sa.String(128), nullable=False),
        sa.Column("setting", sa.String(32), nullable=False),
        sa.Column("payer", sa.Text, nullable=True),
        sa.Column("complexity", sa.String(16), nullable=True),
        sa.Column("service_start", sa.Date, nullable=True),
        sa.Column("route", sa.String(16), nullable=False),
        sa.Column("version_number", sa.Integer, nullable=True),
        sa.Column("bundle_sha256", sa.String(64), nullable=False),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_suggestions"),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], name="fk_suggestions_principal_id_principals"),
    )
    op.create_index("ix_suggestions_record_id", "suggestions", ["record_id"])
    op.create_index("ix_suggestions_specialty_stored_at", "suggestions", ["specialty", "stored_at"])
    forbid("suggestions", "UPDATE", "DELETE")
    op.create_table(
        "suggestion_contents",
        sa.Column("suggestion_id", sa.String(36), nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("suggestion", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("suggestion_id", name="pk_suggestion_contents"),
        sa.ForeignKeyConstraint(
            ["suggestion_id"], ["suggestions.id"], name="fk_suggestion_contents_suggestion_id_suggestions"
        ),
    )
    # Deleting is the purge's business.
    forbid("suggestion_contents", "UPDATE")


def downgrade() -> None:
    """Refuse: what must never be lost is not dropped by a command."""
    raise NotImplementedError("the ledger is not taken back; restore a backup instead")
