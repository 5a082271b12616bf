"""Decisions of coders, stored for good and exactly once (stage 8).

A decision is read and checked beside the writer; the writer is held for the rows alone, and looks
again there at what others may have said meanwhile. It does not know HTTP.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from sqlalchemy import Engine

from clinical_coding.artefact import sha256_of_json
from clinical_coding.decisions import Decision
from feedback.audit_draws import SECURE_SOURCE
from feedback.decision_checks import check_decision
from feedback.decision_writer import CheckedDecision, RecordedDecision, Request, look_up, repeat, store_decisions
from feedback.errors import FeedbackError, ForbiddenError, InvalidError, NotFoundError
from feedback.overrides import Override, final_codes
from feedback.settings import FeedbackSettings, ReasonCodes
from feedback.shown import Shown, load_shown
from feedback.stored_decisions import StoredDecision, decision_of, decisions_of, load_decision
from ledger.engine import reading
from ledger.group_commit import write_together
from ledger.principals import Principal, Role

__all__ = [
    "MAX_KEY_CHARACTERS",
    "MAY_DECIDE",
    "Override",
    "RecordedDecision",
    "StoredDecision",
    "decision_of",
    "decisions_of",
    "final_codes",
    "load_decision",
    "record_decision",
    "record_decisions",
]

MAY_DECIDE: Final = (Role.CODER, Role.SUPERVISOR, Role.SERVICE)
MAX_KEY_CHARACTERS: Final = 128


def record_decision(
    engine: Engine,
    decision: Decision,
    *,
    idempotency_key: str,
    principal: Principal,
    settings: FeedbackSettings,
    reasons: ReasonCodes,
    random_source: Random = SECURE_SOURCE,
) -> RecordedDecision:
    """Store a decision with its overrides, their cases, and perhaps an audit draw; durable on return.

    Args:
        engine: A migrated database.
        decision: What the coder says.
        idempotency_key: 1 to 128 printable characters; the same decision again under the same key
            is answered as the first time, and stored once.
        principal: Who decides.
        settings: Shares drawn, and places in the queue.
        reasons: The reasons that can be given.
        random_source: Where the chance of the audit draw comes from.

    Raises:
        ForbiddenError: The role may not decide.
        NotFoundError: The suggestion is unknown.
        ConflictError: The suggestion is decided already, or the key was used for another decision.
        InvalidError: The decision contradicts the suggestion, or the key is malformed.
    """
    [outcome] = record_decisions(
        engine,
        [(idempotency_key, decision)],
        principal=principal,
        settings=settings,
        reasons=reasons,
        random_source=random_source,
    )
    if isinstance(outcome, FeedbackError):
        raise outcome
    return outcome


def record_decisions(
    engine: Engine,
    asked: Sequence[tuple[str, Decision]],
    *,
    principal: Principal,
    settings: FeedbackSettings,
    reasons: ReasonCodes,
    random_source: Random = SECURE_SOURCE,
) -> list[RecordedDecision | FeedbackError]:
    """Store many decisions of one principal in one durable transaction; one that is refused stops no other.

    Args:
        engine: A migrated database.
        asked: Idempotency key and decision, in the order in which they were made.
        principal: Who decides.
        settings: Shares drawn, and places in the queue.
        reasons: The reasons that can be given.
        random_source: Where the chance of the audit draws comes from.

    Returns:
        For each what became of it, or why it is refused, as ``record_decision`` would raise it.

    Raises:
        ForbiddenError: The role may not decide.
    """
    if principal.role not in MAY_DECIDE:
        raise ForbiddenError(f"role {principal.role} may not decide; use a key of role {', '.join(MAY_DECIDE)}")
    with reading(engine) as connection:
        shown = load_shown(connection, (decision.suggestion_id for _, decision in asked))
    first_look = [_prepare(key, decision, principal=principal, shown=shown, reasons=reasons) for key, decision in asked]
    prepared = _answer_repeated(engine, asked, first_look, principal=principal)
    if not any(isinstance(one, CheckedDecision) for one in prepared):
        return [one for one in prepared if not isinstance(one, CheckedDecision)]
    # Whoever decides at the same moment shares the statements as well as the flush of the disk.
    return write_together(engine, store_decisions, Request(prepared, settings, random_source))


def _prepare(
    key: str, decision: Decision, *, principal: Principal, shown: dict[str, Shown], reasons: ReasonCodes
) -> CheckedDecision | FeedbackError:
    """Do everything that needs no writer."""
    try:
        if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isprintable():
            raise InvalidError(
                f"idempotency key of {len(key)} characters is malformed; expected 1 to {MAX_KEY_CHARACTERS} "
                "printable characters, new for each decision"
            )
        subject = shown.get(decision.suggestion_id)
        if subject is None:
            raise NotFoundError("suggestion_id names no stored suggestion; send the suggestion_id of an answer")
        check_decision(decision, shown=subject, reasons=reasons)
    except FeedbackError as error:
        return error
    return CheckedDecision(key, principal, decision, _hash(decision), subject)


def _answer_repeated(
    engine: Engine,
    asked: Sequence[tuple[str, Decision]],
    prepared: Sequence[CheckedDecision | FeedbackError],
    *,
    principal: Principal,
) -> list[CheckedDecision | RecordedDecision | FeedbackError]:
    """Answer as the first time what is refused now, since its suggestion was purged for instance, but was stored."""
    refused = {
        (principal.id, key) for (key, _), one in zip(asked, prepared, strict=True) if isinstance(one, FeedbackError)
    }
    if not refused:
        return list(prepared)
    with engine.connect() as connection:
        known, _ = look_up(connection, keys=refused, suggestion_ids=())
    answered: list[CheckedDecision | RecordedDecision | FeedbackError] = []
    for (key, decision), one in zip(asked, prepared, strict=True):
        try:
            is_known = isinstance(one, FeedbackError) and (principal.id, key) in known
            answered.append(repeat(known, key=(principal.id, key), body_sha256=_hash(decision)) if is_known else one)
        except FeedbackError as error:
            answered.append(error)
    return answered


def _hash(decision: Decision) -> str:
    return sha256_of_json(decision.model_dump(mode="json"))
