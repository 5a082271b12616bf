"""The rows of decisions, written in one transaction (stage 8).

Here, where one writer is at work at a time, is the last look at what was said meanwhile. Whether
a decision makes sense was judged before.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Final

from sqlalchemy import Connection, bindparam, insert, literal_column, select

from clinical_coding.artefact import new_id
from clinical_coding.decisions import Decision
from clinical_coding.suggestions import RouteDecision
from feedback.audit_draws import Lot, draw, name_coder
from feedback.errors import ConflictError, FeedbackError
from feedback.overrides import Override, derive_overrides, insert_overrides, overrides_of_decisions
from feedback.settings import FeedbackSettings
from feedback.shown import Shown
from feedback.tables import decisions
from ledger.audit_log import Entry, append_all
from ledger.principals import Principal

__all__ = ["Answers", "CheckedDecision", "RecordedDecision", "Request", "look_up", "repeat", "store_decisions"]


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """What became of a decision; it says nothing of audit draws, which a coder may not know."""

    decision_id: str
    decided_at: datetime
    overrides: tuple[Override, ...]
    is_repeated: bool
    """True when it was stored before, by the same principal under the same key."""


@dataclass(frozen=True, slots=True)
class CheckedDecision:
    """A decision that may be stored, as far as can be told outside of the writer."""

    key: str
    principal: Principal
    decision: Decision
    body_sha256: str
    shown: Shown


@dataclass(frozen=True, slots=True)
class Request:
    """What one caller wants stored."""

    prepared: Sequence["CheckedDecision | RecordedDecision | FeedbackError"]
    """Decisions that may be stored, between what is answered already."""
    settings: FeedbackSettings
    random_source: Random


# Statements that run for each decision are made once: making one costs as much as running it.
_SAID: Final = select(
    decisions.c.id,
    decisions.c.suggestion_id,
    decisions.c.principal_id,
    decisions.c.decided_at,
    decisions.c.outcome,
    decisions.c.idempotency_key,
    decisions.c.body_sha256,
).where(
    decisions.c.principal_id.in_(bindparam("principal_ids", expanding=True))
    & decisions.c.idempotency_key.in_(bindparam("idempotency_keys", expanding=True))
    | decisions.c.suggestion_id.in_(bindparam("suggestion_ids", expanding=True))
    & (decisions.c.outcome == literal_column("'decided'"))
)
_INSERT: Final = insert(decisions)
# By principal id and idempotency key: the hash of the body, and the answer when it comes again.
Answers = dict[tuple[str, str], tuple[str, RecordedDecision]]


def repeat(known: Answers, *, key: tuple[str, str], body_sha256: str) -> RecordedDecision:
    """Answer a decision whose key is known as the first time.

    Raises:
        ConflictError: The key was used for another decision.
    """
    stored_sha256, answer = known[key]
    if stored_sha256 != body_sha256:
        raise ConflictError(
            f"the idempotency key was used for another decision ({answer.decision_id}); take a new key for a new one"
        )
    return answer


def look_up(
    connection: Connection, *, keys: Collection[tuple[str, str]], suggestion_ids: Collection[str]
) -> tuple[Answers, dict[str, str]]:
    """Find what was said before.

    Args:
        connection: To the database.
        keys: Principal ids, each with an idempotency key.
        suggestion_ids: Suggestions that may be decided already.

    Returns:
        What was answered under those keys, and the decisions that ended suggestions, by suggestion.
    """
    asked = {
        "principal_ids": list({principal_id for principal_id, _ in keys}),
        # PostgreSQL refuses some characters, such as null, in any text; no stored key holds one.
        "idempotency_keys": [key for _, key in keys if key.isprintable()],
        "suggestion_ids": list(suggestion_ids),
    }
    rows = connection.execute(_SAID, asked).all()
    decided = {row.suggestion_id: row.id for row in rows if row.outcome == "decided"}
    # Found for its suggestion, or for one principal under the key of another, a row answers nobody.
    answered = {(row.principal_id, row.idempotency_key): row for row in rows}.keys() & set(keys)
    if not answered:
        return {}, decided
    made = overrides_of_decisions(connection, [row.id for row in rows])
    return {
        (row.principal_id, row.idempotency_key): (
            row.body_sha256,
            RecordedDecision(row.id, row.decided_at, made.get(row.id, ()), is_repeated=True),
        )
        for row in rows
        if (row.principal_id, row.idempotency_key) in answered
    }, decided


def store_decisions(
    connection: Connection, requests: Sequence[Request]
) -> list[list[RecordedDecision | FeedbackError]]:
    """Look again at what was said meanwhile, then write all rows of the new decisions.

    Args:
        connection: Inside ``ledger.group_commit.write_together``.
        requests: Of all callers that wait.

    Returns:
        For each request and each of its decisions what became of it, in the same order.
    """
    checked = [one for request in requests for one in request.prepared if isinstance(one, CheckedDecision)]
    known, decided = look_up(
        connection,
        keys={(one.principal.id, one.key) for one in checked},
        suggestion_ids={one.decision.suggestion_id for one in checked},
    )
    at = datetime.now(UTC)
    answers: list[list[RecordedDecision | FeedbackError]] = []
    new: list[_New] = []
    for request in requests:
        outcomes: list[RecordedDecision | FeedbackError] = []
        for one in request.prepared:
            outcome = _accept(one, known=known, decided=decided, at=at)
            outcomes.append(outcome)
            if isinstance(one, CheckedDecision) and isinstance(outcome, RecordedDecision) and not outcome.is_repeated:
                new.append(_New(one, outcome, request))
        answers.append(outcomes)
    if new:
        _insert(connection, new)
    return answers


@dataclass(frozen=True, slots=True)
class _New:
    checked: CheckedDecision
    recorded: RecordedDecision
    request: Request


def _accept(
    one: CheckedDecision | RecordedDecision | FeedbackError, *, known: Answers, decided: dict[str, str], at: datetime
) -> RecordedDecision | FeedbackError:
    """Take a decision in, unless it was said before; ``known`` and ``decided`` learn of it."""
    if not isinstance(one, CheckedDecision):
        return one
    key, suggestion_id = (one.principal.id, one.key), one.decision.suggestion_id
    if key in known:
        try:
            return repeat(known, key=key, body_sha256=one.body_sha256)
        except ConflictError as error:
            return error
    if suggestion_id in decided:
        return ConflictError(
            f"suggestion_id names a suggestion that is decided already (decision {decided[suggestion_id]}); "
            "a decision is final, ask for a new suggestion to code the encounter anew"
        )
    decision_id = new_id()
    overrides = derive_overrides(
        one.decision, route=one.shown.route, decision_id=decision_id, principal_id=one.principal.id, created_at=at
    )
    recorded = RecordedDecision(decision_id, at, overrides, is_repeated=False)
    known[key] = (one.body_sha256, replace(recorded, is_repeated=True))
    if one.decision.outcome == "decided":
        decided[suggestion_id] = decision_id
    return recorded


def _insert(connection: Connection, new: Sequence[_New]) -> None:
    rows = [
        {
            "id": one.recorded.decision_id,
            "suggestion_id": one.checked.decision.suggestion_id,
            "principal_id": one.checked.principal.id,
            "decided_at": one.recorded.decided_at,
            "outcome": one.checked.decision.outcome,
            "seconds_spent": one.checked.decision.seconds_spent,
            "idempotency_key": one.checked.key,
            "body_sha256": one.checked.body_sha256,
            "body": one.checked.decision.model_dump_json(),
        }
        for one in new
    ]
    connection.execute(_INSERT, rows)
    opened = [(override, one.request.settings.override_priority) for one in new for override in one.recorded.overrides]
    insert_overrides(connection, opened)
    drawn = draw(connection, [lot for one in new if (lot := _lot(one)) is not None])
    append_all(connection, [*(_entry(one) for one in new), *drawn])
    for one in new:
        checked = one.checked
        if checked.shown.route is RouteDecision.AUTONOMOUS and checked.decision.outcome == "decided":
            name_coder(connection, checked.decision.suggestion_id, coder=checked.principal)


def _entry(one: _New) -> Entry:
    checked, recorded = one.checked, one.recorded
    return Entry(
        principal=checked.principal,
        action="decision-made",
        subject=f"decision:{recorded.decision_id}",
        details={
            "suggestion_id": checked.decision.suggestion_id,
            "outcome": checked.decision.outcome,
            "body_sha256": checked.body_sha256,
            "content_sha256": checked.shown.content_sha256,
            "num_overrides": len(recorded.overrides),
        },
    )


def _lot(one: _New) -> Lot | None:
    """What a coder let stand whole may be drawn for audit."""
    checked = one.checked
    is_accepted = checked.decision.outcome == "decided" and not one.recorded.overrides
    if not is_accepted or checked.shown.route is not RouteDecision.ASSISTED:
        return None
    return Lot(
        checked.decision.suggestion_id,
        "accepted",
        specialty=checked.shown.specialty,
        principal=checked.principal,
        coder_id=checked.principal.id,
        settings=one.request.settings,
        chance=one.request.random_source.random(),
    )
