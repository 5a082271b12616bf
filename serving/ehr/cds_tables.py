"""What was shown to whom by CDS Hooks, and what became of it: the only record of cards that nobody answered.

What a person wrote beside an override is clinical text, and lies apart, where retention can delete it.
"""

from typing import Final

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, PrimaryKeyConstraint, String, Table, Text

from ledger.engine import UtcDateTime, metadata

__all__ = ["cds_cards", "cds_comments", "cds_outcomes"]

cds_cards: Final = Table(
    "cds_cards",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("suggestion_id", String(36), ForeignKey("suggestions.id"), nullable=False),
    Column("principal_id", String(36), ForeignKey("principals.id"), nullable=False),
    Column("service", String(64), nullable=False),
    Column("code_key", String(32), nullable=True),
    Column("shown_at", UtcDateTime, nullable=False),
    Index("ix_cds_cards_suggestion_id", "suggestion_id"),
)

cds_outcomes: Final = Table(
    "cds_outcomes",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("card_id", String(36), ForeignKey("cds_cards.id"), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("outcome_at", UtcDateTime, nullable=False),
    Column("to_key", String(32), nullable=True),
    Column("reason", String(64), nullable=True),
    Column("received_at", UtcDateTime, nullable=False),
    CheckConstraint("outcome IN ('accepted', 'overridden')", name="outcome"),
    Index("uq_cds_outcomes_card_id", "card_id", "outcome", "outcome_at", unique=True),
)

cds_comments: Final = Table(
    "cds_comments",
    metadata,
    Column("outcome_id", String(36), ForeignKey("cds_outcomes.id"), nullable=False),
    Column("suggestion_id", String(36), ForeignKey("suggestions.id"), nullable=False),
    Column("comment", Text, nullable=False),
    PrimaryKeyConstraint("outcome_id"),
    Index("ix_cds_comments_suggestion_id", "suggestion_id"),
)
