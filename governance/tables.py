"""Where promotions lie in the ledger (stage 11). The champion is whom the last row names."""

from typing import Final

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, String, Table, Text

from ledger.engine import UtcDateTime, metadata

__all__ = ["promotions"]

promotions: Final = Table(
    "promotions",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(8), nullable=False),
    Column("version_number", Integer, nullable=False),
    Column("bundle_sha256", String(64), nullable=False),
    Column("previous_number", Integer, nullable=True),
    Column("reason", Text, nullable=False),
    Column("principal_id", String(36), ForeignKey("principals.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    CheckConstraint("kind IN ('promote', 'rollback')", name="kind"),
)
