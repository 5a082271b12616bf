"""Cards that were shown by CDS Hooks, and what became of them."""

import sqlalchemy as sa
from alembic import op

from ledger.migrations.append_only import forbid, forbid_replacing

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and their triggers."""
    _make_cards()
    _make_outcomes()
    _make_comments()


def _make_cards() -> None:
    op.create_table(
        "cds_cards",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("suggestion_id", sa.String(36), nullable=False),
        sa.Column("principal_id", sa.String(36), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("code_key", sa.String(32), nullable=True),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cds_cards"),
        sa.ForeignKeyConstraint(["suggestion_id"], ["suggestions.id"], name="fk_cds_cards_suggestion_id_suggestions"),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], name="fk_cds_cards_principal_id_principals"),
    )
    op.create_index("ix_cds_cards_suggestion_id", "cds_cards", ["suggestion_id"])
    forbid("cds_cards", "UPDATE", "DELETE")
    forbid_replacing("cds_cards", "id = NEW.id")


def _make_outcomes() -> None:
    op.create_table(
        "cds_outcomes",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("card_id", sa.String(36), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("outcome_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("to_key", sa.String(32), nullable=True),
        sa.Column("reason", sa.String(64), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cds_outcomes"),
        sa.ForeignKeyConstraint(["card_id"], ["cds_cards.id"], name="fk_cds_outcomes_card_id_cds_cards"),
        sa.CheckConstraint("outcome IN ('accepted', 'overridden')", name="ck_cds_outcomes_outcome"),
    )
    # An EHR repeats feedback that it does not know to have arrived.
    op.create_index("uq_cds_outcomes_card_id", "cds_outcomes", ["card_id", "outcome", "outcome_at"], unique=True)
    forbid("cds_outcomes", "UPDATE", "DELETE")
    forbid_replacing(
        "cds_outcomes",
        "id = NEW.id",
        "card_id = NEW.card_id AND outcome = NEW.outcome AND outcome_at = NEW.outcome_at",
    )


def _make_comments() -> None:
    op.create_table(
        "cds_comments",
        sa.Column("outcome_id", sa.String(36), nullable=False),
        sa.Column("suggestion_id", sa.String(36), nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("outcome_id", name="pk_cds_comments"),
        sa.ForeignKeyConstraint(["outcome_id"], ["cds_outcomes.id"], name="fk_cds_comments_outcome_id_cds_outcomes"),
        sa.ForeignKeyConstraint(
            ["suggestion_id"], ["suggestions.id"], name="fk_cds_comments_suggestion_id_suggestions"
        ),
    )
    op.create_index("ix_cds_comments_suggestion_id", "cds_comments", ["suggestion_id"])
    # Deleted by retention; never changed.
    forbid("cds_comments", "UPDATE")
    forbid_replacing("cds_comments", "outcome_id = NEW.outcome_id")


def downgrade() -> None:
    """Refuse: what must never be lost is not dropped by a command."""
    raise NotImplementedError("the ledger is not taken back; restore a backup instead")
