"""The rows of decisions of all who decide at the same moment, written in one transaction (stage 8).

Where one writer is at work at a time, one look at the database tells what each was shown and what was
said before, for all of them: looking by oneself, before writing, costs as much as the writing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Final

from sqlalchemy import Connection, bindparam, insert, literal_column, select

from clinical_coding.artefact import new_id
from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import Decision
from clinical_coding.suggestions import RouteDecision
from feedback.audit_draws import Lot, draw, name_coder
from feedback.decision_checks import check_decision
from feedback.errors import ConflictError, FeedbackError, NotFoundError
from feedback.overrides import Override, derive_overrides, insert_overrides, overrides_of_decisions
from feedback.settings import FeedbackSettings, ReasonCodes
from feedback.shown import Shown, load_shown
from feedback.tables import decisions
from ledger.audit_log import Entry, append_all
from ledger.principals import Principal

__all__ = ["Asked", "RecordedDecision", "Request", "store_decisions"]


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """What became of a decision; it says nothing of audit draws, which a coder may not know."""

    decision_id: str
    decided_at: datetime
    overrides: tuple[Override, ...]
    is_repeated: bool
    """True when it was stored before, by the same principal under the same key."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A decision that somebody wants stored."""

    key: str
    """The idempotency key."""
    decision: Decision
    body_sha256: str
    """Of the decision in canonical JSON."""


@dataclass(frozen=True, slots=True)
class Request:
    """What one caller wants stored."""

    asked: Sequence[Asked]
    principal: Principal
    settings: FeedbackSettings
    reasons: ReasonCodes
    systems: CodeSystems
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


def _look_up(
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
    """Judge decisions, and write all rows of those that are new and make sense.

    Args:
        connection: Inside ``ledger.group_commit.write_together``.
        requests: Of all callers that wait.

    Returns:
        For each request and each of its decisions what became of it, in the same order.
    """
    suggestion_ids = {one.decision.suggestion_id for request in requests for one in request.asked}
    shown = load_shown(connection, suggestion_ids)
    known, decided = _look_up(
        connection,
        keys={(request.principal.id, one.key) for request in requests for one in request.asked},
        suggestion_ids=shown,
    )
    at = datetime.now(UTC)
    # Decisions of one moment are read back in the order of their ids.
    ids = iter(sorted(new_id() for request in requests for _ in request.asked))
    answers: list[list[RecordedDecision | FeedbackError]] = []
    new: list[_New] = []
    for request in requests:
        outcomes: list[RecordedDecision | FeedbackError] = []
        for one in request.asked:
            try:
                recorded = _take(one, request, decision_id=next(ids), shown=shown, known=known, decided=decided, at=at)
            except FeedbackError as error:
                outcomes.append(error)
                continue
            outcomes.append(recorded)
            if not recorded.is_repeated:
                new.append(_New(one, recorded, shown[one.decision.suggestion_id], request))
        answers.append(outcomes)
    if new:
        _insert(connection, new)
    return answers


@dataclass(frozen=True, slots=True)
class _New:
    asked: Asked
    recorded: RecordedDecision
    shown: Shown
    request: Request


def _take(
    one: Asked,
    request: Request,
    *,
    decision_id: str,
    shown: Mapping[str, Shown],
    known: Answers,
    decided: dict[str, str],
    at: datetime,
) -> RecordedDecision:
    """Take a decision in, unless it was said before; ``known`` and ``decided`` learn of it."""
    key, suggestion_id = (request.principal.id, one.key), one.decision.suggestion_id
    # First of all: what was stored is answered as the first time, even if it would be refused now.
    if key in known:
        stored_sha256, answer = known[key]
        if stored_sha256 != one.body_sha256:
            raise ConflictError(
                f"the idempotency key was used for another decision ({answer.decision_id}); "
                "take a new key for a new one"
            )
        return answer
    subject = shown.get(suggestion_id)
    if subject is None:
        raise NotFoundError("suggestion_id names no stored suggestion; send the suggestion_id of an answer")
    check_decision(one.decision, shown=subject, reasons=request.reasons, systems=request.systems)
    if suggestion_id in decided:
        raise ConflictError(
            f"suggestion_id names a suggestion that is decided already (decision {decided[suggestion_id]}); "
            "a decision is final, ask for a new suggestion to code the encounter anew"
        )
    principal_id = request.principal.id
    overrides = derive_overrides(
        one.decision, route=subject.route, decision_id=decision_id, principal_id=principal_id, created_at=at
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
            "suggestion_id": one.asked.decision.suggestion_id,
            "principal_id": one.request.principal.id,
            "decided_at": one.recorded.decided_at,
            "outcome": one.asked.decision.outcome,
            "seconds_spent": one.asked.decision.seconds_spent,
            "idempotency_key": one.asked.key,
            "body_sha256": one.asked.body_sha256,
            "body": one.asked.decision.model_dump_json(),
        }
        for one in new
    ]
    connection.execute(_INSERT, rows)
    opened = [(override, one.request.settings.override_priority) for one in new for override in one.recorded.overrides]
    insert_overrides(connection, opened)
    drawn = draw(connection, [lot for one in new if (lot := _lot(one)) is not None])
    append_all(connection, [*(_entry(one) for one in new), *drawn])
    for one in new:
        if one.shown.route is RouteDecision.AUTONOMOUS and one.asked.decision.outcome == "decided":
            name_coder(connection, one.asked.decision.suggestion_id, coder=one.request.principal)


def _entry(one: _New) -> Entry:
    return Entry(
        principal=one.request.principal,
        action="decision-made",
        subject=f"decision:{one.recorded.decision_id}",
        details={
            "suggestion_id": one.asked.decision.suggestion_id,
            "outcome": one.asked.decision.outcome,
            "body_sha256": one.asked.body_sha256,
            "content_sha256": one.shown.content_sha256,
            "num_overrides": len(one.recorded.overrides),
        },
    )


def _lot(one: _New) -> Lot | None:
    """What a coder let stand whole may be drawn for audit."""
    is_accepted = one.asked.decision.outcome == "decided" and not one.recorded.overrides
    if not is_accepted or one.shown.route is not RouteDecision.ASSISTED:
        return None
    return Lot(
        one.asked.decision.suggestion_id,
        "accepted",
        specialty=one.shown.specialty,
        principal=one.request.principal,
        coder_id=one.request.principal.id,
        settings=one.request.settings,
        chance=one.request.random_source.random(),
    )
