"""Physician queries over HTTP: list, show, send, answer, close (stage 8).

An answer that amends the documentation is scored anew before it is stored; by whom is not known here, nor
how a key becomes a principal, nor how errors are worded: all three come from whoever mounts the router.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from sqlalchemy import Engine

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.decisions import MAX_KEY_CHARACTERS
from feedback.queries import close_query, list_queries, send_query, show_query
from feedback.query_answers import (
    AmendedRequest,
    RecordedAnswer,
    RerunOutdatedError,
    answer_query,
    request_for_answer,
)
from feedback.query_life import Closing, QueryAnswer, QueryLife, QueryPage, QueryState, QueryView
from feedback.settings import FeedbackSettings
from feedback.stored_queries import MAX_PAGE
from ledger.principals import Principal

__all__ = ["Rerun", "query_router"]

Acting = Callable[[Request], Principal]
Rerun = Callable[[Request, SuggestionRequest], Awaitable[Suggestion]]
"""Makes the whole suggestion on a request, on behalf of whoever sent this HTTP request; stores nothing."""
# Answers to several queries of one encounter may come at once; each builds on the one before.
MAX_RERUNS: Final = 3
_EXAMPLES: Final[dict[str, Any]] = {
    "amended": {
        "summary": "An option was chosen, and an addendum written",
        "value": {
            "option": 1,
            "documentation_amended": True,
            "notes": [
                {
                    "note_id": "n2",
                    "type": "addendum",
                    "text": "Addendum: the heart failure is chronic and systolic.",
                }
            ],
        },
    },
    "unchanged": {
        "summary": "Unable to determine; the documentation stays as it is",
        "value": {"option": 4, "documentation_amended": False},
    },
}
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_CHARACTERS,
        description="New for each answer. The same answer sent again under the same key is stored once.",
    ),
]


def query_router(engine: Engine, *, acting: Acting, settings: FeedbackSettings, rerun: Rerun) -> APIRouter:
    """Make the endpoints.

    Args:
        engine: A migrated database.
        acting: A dependency that tells who asks, or refuses.
        settings: The share of autonomous suggestions that is drawn for audit.
        rerun: Makes the suggestion anew when the documentation was amended.

    Returns:
        A router whose endpoints raise ``feedback.errors.FeedbackError``, and what ``rerun`` raises.
    """
    router = APIRouter(prefix="/v1", tags=["physician queries"])
    router.include_router(_steps(engine, acting=acting))
    router.include_router(_answers(engine, acting=acting, settings=settings, rerun=rerun))
    return router


def _steps(engine: Engine, *, acting: Acting) -> APIRouter:
    router = APIRouter(prefix="/queries")

    @router.get("")
    def list_(
        principal: Annotated[Principal, Depends(acting)],
        state: Annotated[QueryState | None, Query(description="In this state alone.")] = None,
        suggestion_id: Annotated[str | None, Query(description="Of this suggestion alone.")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        after: Annotated[str | None, Query(description="next_after of the page before.")] = None,
    ) -> QueryPage:
        """List queries, the one that was drafted first at the top; a coder sees those of own suggestions."""
        return list_queries(
            engine, principal=principal, state=state, suggestion_id=suggestion_id, limit=limit, after=after
        )

    @router.get("/{query_id}")
    def show_(query_id: str, principal: Annotated[Principal, Depends(acting)]) -> QueryView:
        """Show a query; show the physician its ``physician_view`` and nothing else, for the rest names codes."""
        return show_query(engine, query_id, principal=principal)

    @router.post("/{query_id}/send")
    def send_(query_id: str, principal: Annotated[Principal, Depends(acting)]) -> QueryLife:
        """Note that the query goes to the physician, by whichever way you have."""
        return send_query(engine, query_id, principal=principal)

    @router.post("/{query_id}/close")
    def close_(query_id: str, closing: Closing, principal: Annotated[Principal, Depends(acting)]) -> QueryLife:
        """Close the query: withdrawn before an answer, no-answer once sent, resolved once answered."""
        return close_query(engine, query_id, reason=closing.reason, principal=principal)

    return router


def _answers(engine: Engine, *, acting: Acting, settings: FeedbackSettings, rerun: Rerun) -> APIRouter:
    router = APIRouter(prefix="/queries")

    @router.post(
        "/{query_id}/answer",
        response_model=QueryLife,
        status_code=201,
        responses={200: {"model": QueryLife, "description": "It was stored before, under the same key."}},
    )
    async def answer_(
        query_id: str,
        request: Request,
        answer: Annotated[QueryAnswer, Body(openapi_examples=_EXAMPLES)],
        idempotency_key: IdempotencyKey,
        principal: Annotated[Principal, Depends(acting)],
    ) -> Response:
        """Enter the physician's answer; amended notes lead to a new suggestion, told as ``new_suggestion_id``."""
        recorded = await _answer(
            partial(request_for_answer, engine, query_id, answer, idempotency_key=idempotency_key, principal=principal),
            make=partial(rerun, request),
            keep=partial(
                answer_query,
                engine,
                query_id,
                answer,
                idempotency_key=idempotency_key,
                principal=principal,
                settings=settings,
            ),
        )
        body = recorded.life.model_dump_json()
        return Response(body, status_code=200 if recorded.is_repeated else 201, media_type="application/json")

    return router


async def _answer(
    ask: Callable[[], AmendedRequest | None],
    *,
    make: Callable[[SuggestionRequest], Awaitable[Suggestion]],
    keep: Callable[..., RecordedAnswer],
) -> RecordedAnswer:
    """Score outside of any transaction, then store; score anew when another answer came between."""
    num_left = MAX_RERUNS
    while True:
        num_left -= 1
        amended = await run_sync(ask)
        made = None if amended is None else (amended, await make(amended.request))
        try:
            return await run_sync(partial(keep, rerun=made))
        except RerunOutdatedError:
            if not num_left:
                raise
