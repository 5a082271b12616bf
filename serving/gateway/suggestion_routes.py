"""``/v1/suggestions``: ask for codes, read back what was answered (stage 7)."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Path, Request, Response

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from ledger.principals import Principal, Role
from serving.gateway.active import ActiveVersion
from serving.gateway.auth import require
from serving.gateway.building import as_answered
from serving.gateway.dispatch import Scored
from serving.gateway.examples import REQUEST_EXAMPLES, SUGGESTION_EXAMPLE, problem_responses
from serving.gateway.exchange import Exchange, exchange_of
from serving.gateway.metrics import Metrics
from serving.gateway.problems import ProblemError
from serving.gateway.settings import GatewaySettings
from serving.gateway.storing import SuggestionStore

__all__ = ["suggestion_router"]

# Reviewers judge models, not patients; a supervisor or an administrator may ask to see what coders see.
_MAY_ASK: Final = (Role.SERVICE, Role.CODER, Role.SUPERVISOR, Role.ADMIN)
_SUCCESS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"example": SUGGESTION_EXAMPLE}}}
}


def suggestion_router(
    settings: GatewaySettings, *, active: ActiveVersion, store: SuggestionStore, metrics: Metrics
) -> APIRouter:
    """Make the endpoints.

    Args:
        settings: Limits and times.
        active: The version that answers.
        store: Where suggestions are kept.
        metrics: Where they are counted.
    """
    router = APIRouter(prefix="/v1", tags=["suggestions"])
    problems = problem_responses(
        *("malformed-body", "no-key", "wrong-key", "wrong-role", "too-large", "invalid-request", "invalid-notes"),
        *("queue-full", "scoring-failed", "unavailable", "no-database", "deadline"),
    )

    @router.post("/suggestions", response_model=Suggestion, responses=problems | _SUCCESS)
    async def suggest(
        request: Request,
        asked: Annotated[SuggestionRequest, Body(openapi_examples=REQUEST_EXAMPLES)],
        principal: Annotated[Principal, Depends(require(*_MAY_ASK))],
    ) -> Response:
        """Suggest codes for the notes of one encounter; stored before it is answered."""
        exchange = exchange_of(request.scope)
        _check_length(asked, exchange=exchange, settings=settings)
        with active.use() as served:
            scored = await _unless_client_leaves(request, served.dispatcher.score(asked.notes))
        suggestion = served.builder.build(asked, scored=scored, trace_id=exchange.trace_id)
        await store.keep(asked, suggestion, principal=principal)
        decision = suggestion.route.decision.value
        exchange.facts |= {
            "suggestion_id": suggestion.suggestion_id,
            "degraded": suggestion.degraded,
            "decision": decision,
            "num_codes": len(suggestion.codes),
            "version": served.name.number or 0,
        }
        metrics.suggestions.labels(decision=decision).inc()
        metrics.degraded.inc(suggestion.degraded)
        return _write(as_answered(suggestion))

    @router.get(
        "/suggestions/{suggestion_id}",
        response_model=Suggestion,
        responses=problem_responses("no-key", "wrong-key", "wrong-role", "unknown-id", "purged") | _SUCCESS,
    )
    def read(
        suggestion_id: Annotated[str, Path()],
        request: Request,
        principal: Annotated[Principal, Depends(require(*_MAY_ASK))],
    ) -> Response:
        """Read back a suggestion as it was answered: a coder an own one, other roles any.

        Codes that the manual route withheld stay withheld from coders and services; supervisors and
        administrators see them once the encounter is decided.
        """
        suggestion = store.read(suggestion_id, principal=principal)
        exchange_of(request.scope).facts["suggestion_id"] = suggestion.suggestion_id
        return _write(suggestion)

    return router


def _write(suggestion: Suggestion) -> Response:
    # Written here: FastAPI would validate the whole suggestion a second time.
    return Response(suggestion.model_dump_json(), media_type="application/json")


def _check_length(asked: SuggestionRequest, *, exchange: Exchange, settings: GatewaySettings) -> None:
    num_characters = sum(len(note.text) for note in asked.notes)
    exchange.facts |= {"num_notes": len(asked.notes), "num_characters": num_characters}
    if num_characters > settings.max_note_characters:
        detail = f"the notes hold {num_characters:,} characters; at most {settings.max_note_characters:,} are read"
        raise ProblemError("too-large", detail)


async def _unless_client_leaves(request: Request, scoring: Coroutine[Any, Any, Scored]) -> Scored:
    """Score, but drop the work when nobody waits for it any more."""
    work = asyncio.create_task(scoring)
    # The body was read whole, so the next message can only be the client's leaving.
    leaving = asyncio.ensure_future(request.receive())
    both: set[asyncio.Future[Any]] = {work, leaving}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ProblemError("client-left", "the client left before the answer")
        return work.result()
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
