"""Keys beside their principals, principals that others vouch for, and tokens that were used."""

import sqlalchemy as sa
from alembic import op

from ledger.migrations.append_only import forbid, forbid_replacing, refuse_unless

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and move the hashes of keys from the principals."""
    _make_keys()
    if op.get_bind().dialect.name == "postgresql":
        _change_principals()
    else:
        _rebuild_principals()
    _guard_principals()
    _make_token_uses()


def _make_keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("principal_id", sa.String(36), nullable=False),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(160), nullable=True),
        sa.Column("requests_per_minute", sa.Integer, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], name="fk_keys_principal_id_principals"),
        sa.UniqueConstraint("key_hash", name="uq_keys_key_hash"),
        sa.CheckConstraint("requests_per_minute > 0", name="ck_keys_requests_per_minute"),
    )
    op.create_index("ix_keys_principal_id", "keys", ["principal_id"])
    op.execute(
        "INSERT INTO keys (id, principal_id, key_hash, created_at, revoked_at) "
        "SELECT id, id, key_hash, created_at, revoked_at FROM principals"
    )
    forbid("keys", "DELETE")
    forbid_replacing("keys", "id = NEW.id", "key_hash = NEW.key_hash")
    refuse_unless(
        "NEW.id = OLD.id AND NEW.principal_id = OLD.principal_id AND NEW.key_hash = OLD.key_hash "
        "AND NEW.created_at = OLD.created_at AND COALESCE(NEW.scopes, '') = COALESCE(OLD.scopes, '') "
        "AND COALESCE(NEW.requests_per_minute, 0) = COALESCE(OLD.requests_per_minute, 0) "
        "AND (OLD.revoked_at IS NULL OR NEW.revoked_at = OLD.revoked_at) "
        "AND (OLD.expires_at IS NULL OR NEW.expires_at <= OLD.expires_at)",
        table="keys",
        operation="UPDATE",
        message="takes only an earlier end",
    )


def _change_principals() -> None:
    op.execute("DROP TRIGGER principals_no_update ON principals")
    op.execute("DROP FUNCTION principals_no_update()")
    op.drop_constraint("uq_principals_key_hash", "principals")
    op.drop_column("principals", "key_hash")
    op.add_column("principals", sa.Column("issuer", sa.String(512), nullable=True))


def _rebuild_principals() -> None:
    # SQLite drops no column that is unique. The rows that point here do so again once the new table has the
    # old rows; until the end of the transaction that is not asked.
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TEMPORARY TABLE kept AS SELECT id, name, role, created_at, revoked_at FROM principals")
    op.drop_table("principals")
    op.create_table(
        "principals",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("issuer", sa.String(512), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_principals"),
        sa.UniqueConstraint("name", name="uq_principals_name"),
        sa.CheckConstraint(
            "role IN ('service', 'coder', 'supervisor', 'reviewer', 'admin')", name="ck_principals_role"
        ),
    )
    op.execute(
        "INSERT INTO principals (id, name, role, created_at, revoked_at) "
        "SELECT id, name, role, created_at, revoked_at FROM kept"
    )
    op.execute("DROP TABLE kept")
    forbid("principals", "DELETE")
    forbid_replacing("principals", "id = NEW.id", "name = NEW.name")


def _guard_principals() -> None:
    refuse_unless(
        "NEW.id = OLD.id AND NEW.name = OLD.name AND NEW.created_at = OLD.created_at "
        "AND COALESCE(NEW.issuer, '') = COALESCE(OLD.issuer, '') "
        "AND (OLD.revoked_at IS NULL OR (NEW.revoked_at = OLD.revoked_at AND NEW.role = OLD.role)) "
        "AND (NEW.role = OLD.role OR OLD.issuer IS NOT NULL)",
        table="principals",
        operation="UPDATE",
        message="takes only a revocation, or the role that its issuer tells; once revoked neither",
    )


def _make_token_uses() -> None:
    op.create_table(
        "token_uses",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_token_uses"),
    )
    op.create_index("ix_token_uses_expires_at", "token_uses", ["expires_at"])
    forbid("token_uses", "UPDATE")
    forbid_replacing("token_uses", "digest = NEW.digest")
    # A use is forgotten once its token is of no use.
    refuse_unless(
        "OLD.expires_at < CURRENT_TIMESTAMP",
        table="token_uses",
        operation="DELETE",
        message="takes only deletions of what has expired",
    )


def downgrade() -> None:
    """Refuse: what must never be lost is not dropped by a command."""
    raise NotImplementedError("the ledger is not taken back; restore a backup instead")
