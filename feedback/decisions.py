"""Decisions of coders, stored for good and exactly once (stage 8).

The door to ``feedback.decision_writer``. It does not know HTTP.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from sqlalchemy import Engine

from clinical_coding.artefact import sha256_of_json
from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import CodeAction, Decision
from feedback.audit_draws import SECURE_SOURCE
from feedback.decision_writer import Asked, RecordedDecision, Request, store_decisions
from feedback.errors import FeedbackError, ForbiddenError, InvalidError
from feedback.overrides import Override, final_codes
from feedback.settings import FeedbackSettings, ReasonCodes
from feedback.stored_decisions import StoredDecision, decision_of, decisions_of, load_decision
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
    systems: CodeSystems,
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
        systems: The releases that judge codes that are brought in, by the encounter's date of coding.
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
        systems=systems,
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
    systems: CodeSystems,
    random_source: Random = SECURE_SOURCE,
) -> list[RecordedDecision | FeedbackError]:
    """Store many decisions of one principal in one durable transaction; one that is refused stops no other.

    Args:
        engine: A migrated database.
        asked: Idempotency key and decision, in the order in which they were made.
        principal: Who decides.
        settings: Shares drawn, and places in the queue.
        reasons: The reasons that can be given.
        systems: The releases that judge codes that are brought in, by the encounter's date of coding.
        random_source: Where the chance of the audit draws comes from.

    Returns:
        For each what became of it, or why it is refused, as ``record_decision`` would raise it.

    Raises:
        ForbiddenError: The role may not decide.
    """
    if principal.role not in MAY_DECIDE:
        raise ForbiddenError(f"role {principal.role} may not decide; use a key of role {', '.join(MAY_DECIDE)}")
    outcomes: list[RecordedDecision | FeedbackError | None] = [_fault_of(key) for key, _ in asked]
    sound = [
        Asked(key, decision, _hash(decision))
        for (key, decision), fault in zip(asked, outcomes, strict=True)
        if fault is None
    ]
    _warm_up(systems, [one.decision for one in sound])
    request = Request(sound, principal, settings, reasons, systems, random_source)
    # Whoever decides at the same moment shares the statements as well as the flush of the disk.
    stored = iter(write_together(engine, store_decisions, request) if sound else ())
    return [next(stored) if outcome is None else outcome for outcome in outcomes]


def _warm_up(systems: CodeSystems, asked: Sequence[Decision]) -> None:
    """Read the releases that may judge what is brought in: each takes up to a second the first time."""
    # The writer, which alone looks up dates of coding, would be held meanwhile.
    brought_in = {
        code.system: code.to or code.code
        for decision in asked
        for code in decision.codes
        if code.action in (CodeAction.ADD, CodeAction.MODIFY)
    }
    for system, code in brought_in.items():
        for release in systems.releases(system):
            systems.standing_in(release, code)


def _fault_of(key: str) -> InvalidError | None:
    if 1 <= len(key) <= MAX_KEY_CHARACTERS and key.isprintable():
        return None
    return InvalidError(
        f"idempotency key of {len(key)} characters is malformed; expected 1 to {MAX_KEY_CHARACTERS} "
        "printable characters, new for each decision"
    )


def _hash(decision: Decision) -> str:
    return sha256_of_json(decision.model_dump(mode="json"))
