"""Cards and their outcomes in the ledger: each card once, each outcome once, however often an EHR repeats itself."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select

from clinical_coding.suggestions import Suggestion
from feedback.errors import InvalidError
from ledger.group_commit import write
from ledger.principals import Principal
from ledger.suggestions import load
from serving.ehr.cds_cards import card_id, choice_id, choices
from serving.ehr.cds_messages import FeedbackEntry
from serving.ehr.cds_tables import cds_cards, cds_comments, cds_outcomes

__all__ = ["CardOutcome", "keep_cards", "keep_outcomes", "load_outcomes"]


@dataclass(frozen=True, slots=True)
class CardOutcome:
    """The last outcome of a code's card; nothing is known of one that was ignored."""

    code_key: str
    shown_at: datetime
    outcome: str | None
    to_key: str | None
    """The code that was taken; null where the card was overridden."""
    reason: str | None
    outcome_at: datetime | None


def keep_cards(
    connection: Connection,
    suggestion: Suggestion,
    *,
    cards: Sequence[Mapping[str, Any]],
    service: str,
    principal: Principal,
) -> None:
    """Note which cards are shown, unless that is noted already.

    Args:
        connection: Inside ``ledger.group_commit.write``.
        suggestion: That they tell.
        cards: As written.
        service: Which was called.
        principal: Of the EHR.
    """
    known = select(cds_cards.c.id).where(cds_cards.c.suggestion_id == suggestion.suggestion_id).limit(1)
    if not cards or connection.execute(known).first() is not None:
        return
    keys = (f"{code.system}:{code.code}" for code in suggestion.codes)
    by_card = {card_id(suggestion.suggestion_id, key): key for key in keys}
    shared = {
        "suggestion_id": suggestion.suggestion_id,
        "principal_id": principal.id,
        "service": service,
        "shown_at": datetime.now(UTC),
    }
    rows = [{"id": card["uuid"], "code_key": by_card.get(card["uuid"]), **shared} for card in cards]
    connection.execute(insert(cds_cards), rows)


def keep_outcomes(
    engine: Engine, entries: Sequence[FeedbackEntry], *, service: str, principal: Principal
) -> tuple[int, tuple[str, ...]]:
    """Store outcomes that are new; durable on return.

    Args:
        engine: A migrated database.
        entries: What became of cards, in any order, perhaps repeated.
        service: Which showed them.
        principal: Of the EHR that was shown them.

    Returns:
        How many of the cards are known, and the suggestions that they tell.
    """

    def work(connection: Connection) -> tuple[int, tuple[str, ...]]:
        asked = {entry.card for entry in entries if entry.card.isprintable()}
        rows = connection.execute(
            select(cds_cards).where(
                cds_cards.c.id.in_(asked), cds_cards.c.principal_id == principal.id, cds_cards.c.service == service
            )
        ).all()
        cards = {row.id: row for row in rows}
        suggestions = {row.suggestion_id: load(connection, row.suggestion_id).suggestion for row in rows}
        for entry in entries:
            if entry.card in cards:
                card = cards[entry.card]
                _keep_outcome(connection, entry, card=card, suggestion=suggestions[card.suggestion_id])
        return len(cards), tuple(suggestions)

    return write(engine, work)


def _keep_outcome(
    connection: Connection, entry: FeedbackEntry, *, card: Row[Any], suggestion: Suggestion | None
) -> None:
    is_known = select(cds_outcomes.c.id).where(
        cds_outcomes.c.card_id == card.id,
        cds_outcomes.c.outcome == entry.outcome,
        cds_outcomes.c.outcome_at == entry.at.astimezone(UTC),
    )
    if connection.execute(is_known).first() is not None:
        return
    identifier = str(uuid.uuid4())
    told = entry.overrideReason
    reason = told.reason.code if told is not None and told.reason is not None else None
    connection.execute(
        insert(cds_outcomes).values(
            id=identifier,
            card_id=card.id,
            outcome=entry.outcome,
            outcome_at=entry.at.astimezone(UTC),
            to_key=_taken(entry, card=card, suggestion=suggestion),
            # A code of somebody else's system may hold anything.
            reason=reason if reason is not None and reason.isascii() and len(reason) <= 64 else None,
            received_at=datetime.now(UTC),
        )
    )
    comment = told.userComment if told is not None else None
    if comment:
        row = {"outcome_id": identifier, "suggestion_id": card.suggestion_id, "comment": comment.replace("\0", "")}
        connection.execute(insert(cds_comments).values(**row))


def _taken(entry: FeedbackEntry, *, card: Row[Any], suggestion: Suggestion | None) -> str | None:
    """The code that was taken from a code's card; null where it is not to be told."""
    if entry.outcome != "accepted" or card.code_key is None or suggestion is None:
        return None
    named = {one.id for one in entry.acceptedSuggestions}
    offered = {
        choice_id(card.id, f"{one.system}:{one.code}"): f"{one.system}:{one.code}"
        for code in suggestion.codes
        if f"{code.system}:{code.code}" == card.code_key
        for one in choices(suggestion, code)
    }
    taken = [key for choice, key in offered.items() if choice in named]
    if len(taken) != 1:
        # Taking it for the card's own code would decide what nobody decided.
        raise InvalidError("feedback.acceptedSuggestions must name one of the card's own suggestions")
    return taken[0]


def load_outcomes(engine: Engine, suggestion_id: str) -> tuple[CardOutcome, ...]:
    """Find the cards of a suggestion's codes, each with its last outcome; blocks."""
    statement = (
        select(cds_cards.c.id, cds_cards.c.code_key, cds_cards.c.shown_at, cds_outcomes)
        .outerjoin(cds_outcomes, cds_outcomes.c.card_id == cds_cards.c.id)
        .where(cds_cards.c.suggestion_id == suggestion_id, cds_cards.c.code_key.is_not(None))
        .order_by(cds_cards.c.code_key, cds_outcomes.c.outcome_at, cds_outcomes.c.received_at)
    )
    with engine.connect() as connection:
        rows = connection.execute(statement).all()
    return tuple(
        {
            row.code_key: CardOutcome(row.code_key, row.shown_at, row.outcome, row.to_key, row.reason, row.outcome_at)
            for row in rows
        }.values()
    )
