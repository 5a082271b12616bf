"""The audit log and the stored suggestions."""

import sqlalchemy as sa
from alembic import op

from ledger.migrations.append_only import follow, forbid, forbid_replacing, refuse_unless

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, their triggers, and the head of an empty chain."""
    _guard_principals()
    _make_audit_log()
    _make_suggestions()


def _guard_principals() -> None:
    # Who did what stays readable only while names, roles and moments of revoking stay what they were.
    forbid("principals", "DELETE")
    forbid_replacing("principals", "id = NEW.id", "name = NEW.name", "key_hash = NEW.key_hash")
    refuse_unless(
        "NEW.id = OLD.id AND NEW.name = OLD.name AND NEW.role = OLD.role AND NEW.created_at = OLD.created_at "
        "AND (OLD.revoked_at IS NULL OR (NEW.revoked_at = OLD.revoked_at AND NEW.key_hash = OLD.key_hash)) "
        "AND NOT EXISTS (SELECT 1 FROM principals WHERE key_hash = NEW.key_hash AND id <> OLD.id)",
        table="principals",
        operation="UPDATE",
        message="takes a new key or a revocation, once revoked neither; no other change",
    )


def _make_audit_log() -> None:
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
    forbid_replacing("audit_log", "seq = NEW.seq")
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "hash": "0" * 64}])
    forbid("audit_head", "INSERT", "DELETE")
    # Entry and head move together, one step at a time.
    refuse_unless(
        "EXISTS (SELECT 1 FROM audit_head WHERE id = 1 AND seq = NEW.seq - 1 AND hash = NEW.previous_hash)",
        table="audit_log",
        operation="INSERT",
        message="takes only the entry that follows its head",
    )
    refuse_unless(
        "NEW.id = OLD.id AND NEW.seq = OLD.seq + 1 "
        "AND EXISTS (SELECT 1 FROM audit_log WHERE seq = NEW.seq AND hash = NEW.hash)",
        table="audit_head",
        operation="UPDATE",
        message="moves only forward, to the entry that follows",
    )
    # The database moves the head, so that several entries can be added by one statement.
    follow("audit_log", "UPDATE audit_head SET seq = NEW.seq, hash = NEW.hash WHERE id = 1")


def _make_suggestions() -> None:
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
    forbid_replacing("suggestions", "id = NEW.id")
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
    forbid_replacing("suggestion_contents", "suggestion_id = NEW.suggestion_id")


def downgrade() -> None:
    """Refuse: what must never be lost is not dropped by a command."""
    raise NotImplementedError("the ledger is not taken back; restore a backup instead")
