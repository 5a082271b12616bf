"""Decisions over HTTP: send one, read back what was said (stage 8).

It does not know how a key becomes a principal, nor how errors are worded: both come from whoever
mounts the router. Endpoints are plain functions, so that the database is waited for in threads.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Engine

from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import Decision
from feedback.decisions import MAX_KEY_CHARACTERS, MAY_DECIDE, RecordedDecision, record_decision
from feedback.errors import ForbiddenError, NotFoundError
from feedback.overrides import Override, overrides_of_decisions, overrides_of_suggestion
from feedback.settings import FeedbackSettings, ReasonCodes
from feedback.shown import load_shown
from feedback.stored_decisions import StoredDecision, decisions_of, load_decision
from ledger.principals import Principal, Role

__all__ = ["DecisionAnswer", "Decisions", "KeptDecision", "Overrides", "decision_router"]

_EXAMPLE_ID: Final = "01930000-0000-7000-8000-000000000001"
# A coder reads back what is their own; these read whatever anybody said.
_READ_ALL: Final = (Role.SERVICE, Role.SUPERVISOR, Role.ADMIN)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class DecisionAnswer(_Answer):
    """A decision was stored."""

    decision_id: str
    suggestion_id: str
    decided_at: datetime
    overrides: tuple[Override, ...]
    """Where it differs from the suggestion, code by code; none on the manual route."""


class KeptDecision(DecisionAnswer):
    """A decision as it is kept."""

    principal_id: str
    """Who decided."""
    decision: Decision


class Decisions(_Answer):
    """What was said of one suggestion, oldest first."""

    decisions: tuple[KeptDecision, ...]


class Overrides(_Answer):
    """Where decisions differ from one suggestion."""

    overrides: tuple[Override, ...]


def _example(summary: str, **fields: Any) -> dict[str, Any]:
    return {"summary": summary, "value": {"suggestion_id": _EXAMPLE_ID, "seconds_spent": 48.5} | fields}


_EXAMPLES: Final[dict[str, Any]] = {
    "accepted": _example("Every suggested code stands"),
    "overridden": _example(
        "One code modified, one rejected, one added; the others stand",
        codes=[
            {
                "action": "modify",
                "system": "icd10cm",
                "code": "E11.9",
                "to": "E11.65",
                "reason": "more-specific-code-documented",
            },
            {"action": "reject", "system": "icd10cm", "code": "R07.9", "reason": "integral-symptom"},
            {"action": "add", "system": "icd10cm", "code": "I10", "reason": "missed-documentation"},
        ],
    ),
    "deferred": _example("Not coded before the physician answers a query", outcome="deferred"),
}
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_CHARACTERS,
        description="New for each decision. The same decision sent again under the same key is stored once.",
    ),
]


def decision_router(
    engine: Engine,
    *,
    acting: Callable[[Request], Principal],
    settings: FeedbackSettings,
    reasons: ReasonCodes,
    systems: CodeSystems,
) -> APIRouter:
    """Make the endpoints.

    Args:
        engine: A migrated database.
        acting: A dependency that tells who asks, or refuses.
        settings: Shares drawn for audit, and places in the queue.
        reasons: The reasons that can be given.
        systems: The releases that judge codes.

    Returns:
        A router whose endpoints raise ``feedback.errors.FeedbackError``.
    """
    router = APIRouter(prefix="/v1", tags=["feedback"])
    who = Depends(acting)

    @router.post(
        "/decisions",
        response_model=DecisionAnswer,
        status_code=201,
        responses={200: {"model": DecisionAnswer, "description": "It was stored before, under the same key."}},
    )
    def decide(
        decision: Annotated[Decision, Body(openapi_examples=_EXAMPLES)],
        idempotency_key: IdempotencyKey,
        principal: Annotated[Principal, who],
    ) -> Response:
        """Say what became of a suggestion; suggested codes that are not mentioned are accepted."""
        recorded = record_decision(
            engine,
            decision,
            idempotency_key=idempotency_key,
            principal=principal,
            settings=settings,
            reasons=reasons,
            systems=systems,
        )
        body = _answer(recorded, suggestion_id=decision.suggestion_id).model_dump_json()
        return Response(body, status_code=200 if recorded.is_repeated else 201, media_type="application/json")

    @router.get("/decisions/{decision_id}")
    def read_decision(decision_id: Annotated[str, Path()], principal: Annotated[Principal, who]) -> KeptDecision:
        """Read a decision back."""
        _check_may_read(principal)
        with engine.connect() as connection:
            stored = load_decision(connection, decision_id)
            if not _may_see(stored.principal_id, principal=principal):
                raise NotFoundError("no decision of yours is stored under this id; a coder reads back own decisions")
            [kept] = _kept(connection, (stored,))
        return kept

    @router.get("/suggestions/{suggestion_id}/decisions")
    def read_decisions(suggestion_id: Annotated[str, Path()], principal: Annotated[Principal, who]) -> Decisions:
        """Read back what was said of a suggestion; a coder sees own decisions alone."""
        _check_may_read(principal)
        with engine.connect() as connection:
            _check_stored(connection, suggestion_id)
            found = decisions_of(connection, suggestion_id)
            seen = tuple(stored for stored in found if _may_see(stored.principal_id, principal=principal))
            return Decisions(decisions=_kept(connection, seen))

    @router.get("/overrides")
    def read_overrides(suggestion_id: Annotated[str, Query()], principal: Annotated[Principal, who]) -> Overrides:
        """Read back where decisions differ from a suggestion; a coder sees own overrides alone."""
        _check_may_read(principal)
        with engine.connect() as connection:
            _check_stored(connection, suggestion_id)
            found = overrides_of_suggestion(connection, suggestion_id)
        return Overrides(overrides=tuple(one for one in found if _may_see(one.principal_id, principal=principal)))

    return router


def _check_may_read(principal: Principal) -> None:
    allowed = dict.fromkeys((*MAY_DECIDE, *_READ_ALL))
    if principal.role not in allowed:
        raise ForbiddenError(f"role {principal.role} may not read decisions; use a key of role {', '.join(allowed)}")


def _may_see(principal_id: str, *, principal: Principal) -> bool:
    return principal.role in _READ_ALL or principal.id == principal_id


def _check_stored(connection: Connection, suggestion_id: str) -> None:
    if not load_shown(connection, [suggestion_id]):
        raise NotFoundError("suggestion_id names no stored suggestion; send the suggestion_id of an answer")


def _answer(recorded: RecordedDecision, *, suggestion_id: str) -> DecisionAnswer:
    return DecisionAnswer(
        decision_id=recorded.decision_id,
        suggestion_id=suggestion_id,
        decided_at=recorded.decided_at,
        overrides=recorded.overrides,
    )


def _kept(connection: Connection, found: tuple[StoredDecision, ...]) -> tuple[KeptDecision, ...]:
    made = overrides_of_decisions(connection, [stored.decision_id for stored in found])
    return tuple(
        KeptDecision(
            decision_id=stored.decision_id,
            suggestion_id=stored.decision.suggestion_id,
            decided_at=stored.decided_at,
            overrides=made.get(stored.decision_id, ()),
            principal_id=stored.principal_id,
            decision=stored.decision,
        )
        for stored in found
    )
