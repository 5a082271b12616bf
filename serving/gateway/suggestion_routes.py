"""``/v1/suggestions``: ask for codes, one by one or in a stream; read back what was answered (stage 7)."""

from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from ledger.principals import Principal, Role
from serving.gateway.answering import MAX_KEY_CHARACTERS, Answer, Answering, check_key
from serving.gateway.auth import require
from serving.gateway.building import as_answered
from serving.gateway.entrance import TIMEOUT_HEADER
from serving.gateway.examples import REQUEST_EXAMPLES, SUGGESTION_EXAMPLE, problem_responses
from serving.gateway.exchange import exchange_of
from serving.gateway.precoding import PreCodingCheck, as_check, is_check, without_codes
from serving.gateway.problems import ProblemError
from serving.gateway.storing import SuggestionStore
from serving.gateway.suggesting import Suggester, check_in_time

__all__ = ["MAY_ASK", "IdempotencyKey", "suggestion_router"]

# Reviewers judge models, not patients; a supervisor or an administrator may ask to see what coders see.
MAY_ASK: Final = (Role.SERVICE, Role.CODER, Role.SUPERVISOR, Role.ADMIN)
_HEADERS: Final[dict[str, Any]] = {
    "Server-Timing": {
        "description": "Where the time went, in milliseconds: admitted, queued, model, review, store.",
        "schema": {"type": "string"},
    },
    "Idempotent-Replay": {
        "description": "`true` when this was stored before, under the same Idempotency-Key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_SUCCESS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"example": SUGGESTION_EXAMPLE}}}
}
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_CHARACTERS,
        description="New for each request, the same for each attempt to send it: it is answered and stored once.",
    ),
]
_Mode = Annotated[
    Literal["suggest", "pre-coding"],
    Query(description="`pre-coding` tells what the documentation leaves open, and neither codes nor a route."),
]
_Timeout = Annotated[
    str | None,
    Header(
        alias=TIMEOUT_HEADER,
        pattern=r"^[0-9]{1,9}$",
        description="Milliseconds that you wait, at least 1. More than the gateway's deadline is taken for that. What "
        "cannot be answered in time is refused at once with 429; nothing is answered later than this.",
    ),
]


def suggestion_router(*, suggester: Suggester, store: SuggestionStore, answering: Answering) -> APIRouter:
    """Make the endpoints.

    Args:
        suggester: Who makes suggestions.
        store: Where they are kept.
        answering: Makes and keeps them.
    """
    router = APIRouter(prefix="/v1", tags=["suggestions"])
    problems = problem_responses(
        *("malformed-body", "no-key", "wrong-key", "wrong-role", "key-reused", "purged", "too-large"),
        *("wrong-media-type", "slow-body", "invalid-request", "invalid-notes"),
        *("queue-full", "scoring-failed", "unavailable", "no-database", "deadline"),
    )
    success: dict[int | str, dict[str, Any]] = {200: _SUCCESS[200] | {"headers": _HEADERS}}

    @router.post("/suggestions", response_model=Suggestion | PreCodingCheck, responses=problems | success)
    async def suggest(
        request: Request,
        asked: Annotated[SuggestionRequest, Body(openapi_examples=REQUEST_EXAMPLES)],
        principal: Annotated[Principal, Depends(require(*MAY_ASK))],
        mode: _Mode = "suggest",
        idempotency_key: IdempotencyKey = None,
        _: _Timeout = None,
    ) -> Response:
        """Suggest codes for the notes of one encounter; stored before it is answered.

        In the mode ``pre-coding`` gaps of the documentation and physician queries alone are answered and stored.

        One that became durable only after the deadline is answered with 504 all the same: it stays stored, and
        the same Idempotency-Key asks for it again.
        """
        if idempotency_key is not None:
            check_key(idempotency_key)
        exchange = exchange_of(request.scope)
        answer = await answering.answer(
            asked,
            principal=principal,
            make=partial(_make, suggester, request, asked, mode=mode),
            key=idempotency_key,
            give_up_at=exchange.give_up_at,
        )
        exchange.facts["suggestion_id"] = answer.suggestion.suggestion_id
        if answer.is_repeated:
            suggester.count_replay()
        elif mode == "suggest":
            suggester.count(answer.suggestion, store_seconds=answer.store_seconds)
        check_in_time(exchange.give_up_at)
        if is_check(answer.suggestion) != (mode == "pre-coding"):
            raise ProblemError("key-reused", "a request in another mode was answered under this Idempotency-Key")
        told = as_check(answer.suggestion) if mode == "pre-coding" else as_answered(answer.suggestion)
        return _write(told, **_tell(answer))

    @router.get(
        "/suggestions/{suggestion_id}",
        response_model=Suggestion,
        responses=problem_responses("no-key", "wrong-key", "wrong-role", "unknown-id", "purged") | _SUCCESS,
    )
    def read(
        suggestion_id: Annotated[str, Path()],
        request: Request,
        principal: Annotated[Principal, Depends(require(*MAY_ASK))],
    ) -> Response:
        """Read back a suggestion as it was answered: a coder an own one, other roles any.

        Codes that the manual route withheld stay withheld from coders and services; supervisors and
        administrators see them once the encounter is decided.
        """
        suggestion = store.read(suggestion_id, principal=principal)
        exchange_of(request.scope).facts["suggestion_id"] = suggestion.suggestion_id
        return _write(suggestion)

    return router


def _tell(answer: Answer) -> dict[str, str]:
    """What the headers say of an answer."""
    if answer.is_repeated:
        return {"Idempotent-Replay": "true", "Server-Timing": f"store;dur={1000 * answer.store_seconds:.1f}"}
    latency = answer.suggestion.latency
    assert latency is not None, "measured when it was made"
    parts = {
        "admitted": latency.admitted_ms,
        "queued": latency.queued_ms,
        "model": latency.model_ms,
        "review": latency.review_ms,
        "store": 1000 * answer.store_seconds,
    }
    return {"Server-Timing": ", ".join(f"{name};dur={milliseconds:.1f}" for name, milliseconds in parts.items())}


async def _make(suggester: Suggester, request: Request, asked: SuggestionRequest, *, mode: str) -> Suggestion:
    suggestion = await suggester.suggest(request, asked)
    return without_codes(suggestion) if mode == "pre-coding" else suggestion


def _write(suggestion: Suggestion | PreCodingCheck, **headers: str) -> Response:
    # Written here: FastAPI would validate the whole suggestion a second time.
    return Response(suggestion.model_dump_json(), media_type="application/json", headers=headers)
