"""Principals: who may call, in which role, by which key."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "principals",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_principals"),
        sa.UniqueConstraint("name", name="uq_principals_name"),
        sa.UniqueConstraint("key_hash", name="uq_principals_key_hash"),
        sa.CheckConstraint(
            "role IN ('service', 'coder', 'supervisor', 'reviewer', 'admin')", name="ck_principals_role"
        ),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("principals")
