"""The rows of decisions, written in one transaction (stage 8).

Here, where one writer is at work at a time, is the last look at what was said meanwhile. Whether
a decision makes sense was judged before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Final

from sqlalchemy import Connection, bindparam, insert, literal_column, select

from clinical_coding.artefact import new_id
from clinical_coding.decisions import Decision
from clinical_coding.suggestions import RouteDecision
from feedback.audit_draws import draw_accepted, name_coder
from feedback.errors import ConflictError, FeedbackError
from feedback.overrides import Override, derive_overrides, insert_overrides, overrides_of_decisions
from feedback.settings import FeedbackSettings
from feedback.shown import Shown
from feedback.tables import decisions
from ledger.audit_log import append
from ledger.principals import Principal

__all__ = ["Answers", "CheckedDecision", "RecordedDecision", "look_up", "repeat", "store_decisions"]


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
    decision: Decision
    body_sha256: str
    shown: Shown


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
    (decisions.c.principal_id == bindparam("principal_id"))
    & decisions.c.idempotency_key.in_(bindparam("idempotency_keys", expanding=True))
    | decisions.c.suggestion_id.in_(bindparam("suggestion_ids", expanding=True))
    & (decisions.c.outcome == literal_column("'decided'"))
)
_INSERT: Final = insert(decisions)
# By idempotency key: the hash of the body, and the answer when it comes again.
Answers = dict[str, tuple[str, RecordedDecision]]


def repeat(known: Answers, *, key: str, body_sha256: str) -> RecordedDecision:
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
    connection: Connection, *, keys: Iterable[str], suggestion_ids: Iterable[str], principal: Principal
) -> tuple[Answers, dict[str, str]]:
    """Find what was said before.

    Args:
        connection: To the database.
        keys: Idempotency keys of the principal.
        suggestion_ids: Suggestions that may be decided already.
        principal: Who decides.

    Returns:
        What the principal was answered under those keys, and the decisions that ended suggestions, by suggestion.
    """
    asked = {
        "principal_id": principal.id,
        "idempotency_keys": [key for key in keys if key.isprintable()],
        "suggestion_ids": list(suggestion_ids),
    }
    rows = connection.execute(_SAID, asked).all()
    decided = {row.suggestion_id: row.id for row in rows if row.outcome == "decided"}
    answered = [
        row for row in rows if row.principal_id == principal.id and row.idempotency_key in asked["idempotency_keys"]
    ]
    if not answered:
        return {}, decided
    made = overrides_of_decisions(connection, [row.id for row in answered])
    return {
        row.idempotency_key: (
            row.body_sha256,
            RecordedDecision(row.id, row.decided_at, made.get(row.id, ()), is_repeated=True),
        )
        for row in answered
    }, decided


def store_decisions(
    connection: Connection,
    prepared: Sequence[CheckedDecision | RecordedDecision | FeedbackError],
    *,
    principal: Principal,
    settings: FeedbackSettings,
    random_source: Random,
) -> list[RecordedDecision | FeedbackError]:
    """Look again at what was said meanwhile, then write all rows of the new decisions.

    Args:
        connection: Inside ``ledger.group_commit.write``.
        prepared: What may be stored, between what is answered already.
        principal: Who decides.
        settings: Shares drawn, and places in the queue.
        random_source: Where the chance of the audit draws comes from.

    Returns:
        For each what became of it, in the same order.
    """
    checked = [one for one in prepared if isinstance(one, CheckedDecision)]
    known, decided = look_up(
        connection,
        keys=[one.key for one in checked],
        suggestion_ids={one.decision.suggestion_id for one in checked},
        principal=principal,
    )
    at = datetime.now(UTC)
    outcomes: list[RecordedDecision | FeedbackError] = []
    new: list[tuple[CheckedDecision, RecordedDecision]] = []
    for one in prepared:
        if not isinstance(one, CheckedDecision):
            outcomes.append(one)
            continue
        try:
            outcome = _accept(one, known=known, decided=decided, principal=principal, at=at)
        except FeedbackError as error:
            outcomes.append(error)
            continue
        outcomes.append(outcome)
        if not outcome.is_repeated:
            new.append((one, outcome))
    _insert(connection, new, principal=principal, settings=settings)
    for one, outcome in new:
        _tell_and_draw(connection, one, outcome, principal=principal, settings=settings, random_source=random_source)
    return outcomes


def _accept(
    one: CheckedDecision, *, known: Answers, decided: dict[str, str], principal: Principal, at: datetime
) -> RecordedDecision:
    """Take a decision in, unless it was said before; ``known`` and ``decided`` learn of it."""
    if one.key in known:
        return repeat(known, key=one.key, body_sha256=one.body_sha256)
    suggestion_id = one.decision.suggestion_id
    if suggestion_id in decided:
        raise ConflictError(
            f"suggestion_id names a suggestion that is decided already (decision {decided[suggestion_id]}); "
            "a decision is final, ask for a new suggestion to code the encounter anew"
        )
    decision_id = new_id()
    overrides = derive_overrides(
        one.decision, route=one.shown.route, decision_id=decision_id, principal_id=principal.id, created_at=at
    )
    recorded = RecordedDecision(decision_id, at, overrides, is_repeated=False)
    known[one.key] = (one.body_sha256, replace(recorded, is_repeated=True))
    if one.decision.outcome == "decided":
        decided[suggestion_id] = decision_id
    return recorded


def _insert(
    connection: Connection,
    new: Sequence[tuple[CheckedDecision, RecordedDecision]],
    *,
    principal: Principal,
    settings: FeedbackSettings,
) -> None:
    if not new:
        return
    rows = [
        {
            "id": recorded.decision_id,
            "suggestion_id": one.decision.suggestion_id,
            "principal_id": principal.id,
            "decided_at": recorded.decided_at,
            "outcome": one.decision.outcome,
            "seconds_spent": one.decision.seconds_spent,
            "idempotency_key": one.key,
            "body_sha256": one.body_sha256,
            "body": one.decision.model_dump_json(),
        }
        for one, recorded in new
    ]
    connection.execute(_INSERT, rows)
    insert_overrides(
        connection,
        [override for _, recorded in new for override in recorded.overrides],
        priority=settings.override_priority,
    )


def _tell_and_draw(
    connection: Connection,
    one: CheckedDecision,
    recorded: RecordedDecision,
    *,
    principal: Principal,
    settings: FeedbackSettings,
    random_source: Random,
) -> None:
    append(
        connection,
        principal=principal,
        action="decision-made",
        subject=f"decision:{recorded.decision_id}",
        details={
            "suggestion_id": one.decision.suggestion_id,
            "outcome": one.decision.outcome,
            "body_sha256": one.body_sha256,
            "content_sha256": one.shown.content_sha256,
            "num_overrides": len(recorded.overrides),
        },
    )
    if one.decision.outcome != "decided":
        return
    if one.shown.route is RouteDecision.AUTONOMOUS:
        name_coder(connection, one.decision.suggestion_id, coder=principal)
    elif one.shown.route is RouteDecision.ASSISTED and not recorded.overrides:
        draw_accepted(
            connection,
            one.decision.suggestion_id,
            specialty=one.shown.specialty,
            coder=principal,
            settings=settings,
            random_source=random_source,
        )
