"""Decisions as they are kept, read back (the end of stage 8)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from clinical_coding.decisions import Decision
from feedback.errors import NotFoundError
from feedback.tables import decisions

__all__ = ["StoredDecision", "decision_of", "decisions_of", "load_decision"]


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as it is kept."""

    decision_id: str
    principal_id: str
    """Whose it is."""
    decided_at: datetime
    body_sha256: str
    """Of the decision in canonical JSON; the audit log names it too."""
    decision: Decision


def load_decision(connection: Connection, decision_id: str) -> StoredDecision:
    """Find a decision.

    Raises:
        NotFoundError: None is stored under this id.
    """
    # PostgreSQL refuses some characters, such as null, in any text; no id holds one.
    row = None
    if decision_id.isprintable():
        row = connection.execute(select(decisions).where(decisions.c.id == decision_id)).one_or_none()
    if row is None:
        raise NotFoundError("no decision is stored under this id; send the decision_id of an answer")
    return _stored(row)


def decisions_of(connection: Connection, suggestion_id: str) -> tuple[StoredDecision, ...]:
    """All decisions on a suggestion, oldest first: escalated and deferred ones, then perhaps the one that ended it."""
    rows = connection.execute(
        select(decisions)
        .where(decisions.c.suggestion_id == suggestion_id)
        .order_by(decisions.c.decided_at, decisions.c.id)
    )
    return tuple(_stored(row) for row in rows)


def decision_of(connection: Connection, suggestion_id: str) -> StoredDecision | None:
    """The decision that ended a suggestion, with outcome ``decided``; null while there is none."""
    row = connection.execute(
        select(decisions).where(decisions.c.suggestion_id == suggestion_id, decisions.c.outcome == "decided")
    ).one_or_none()
    return None if row is None else _stored(row)


def _stored(row: Row[Any]) -> StoredDecision:
    return StoredDecision(
        decision_id=row.id,
        principal_id=row.principal_id,
        decided_at=row.decided_at,
        body_sha256=row.body_sha256,
        decision=Decision.model_validate_json(row.body),
    )
