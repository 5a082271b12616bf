"""``/v1/suggestions``: ask for codes, read back what was answered (stage 7)."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Path, Request, Response

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from ledger.principals import Principal, Role
from serving.gateway.auth import require
from serving.gateway.building import as_answered
from serving.gateway.examples import REQUEST_EXAMPLES, SUGGESTION_EXAMPLE, problem_responses
from serving.gateway.exchange import exchange_of
from serving.gateway.storing import SuggestionStore
from serving.gateway.suggesting import Suggester

__all__ = ["suggestion_router"]

# Reviewers judge models, not patients; a supervisor or an administrator may ask to see what coders see.
_MAY_ASK: Final = (Role.SERVICE, Role.CODER, Role.SUPERVISOR, Role.ADMIN)
_SUCCESS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"example": SUGGESTION_EXAMPLE}}}
}


def suggestion_router(*, suggester: Suggester, store: SuggestionStore) -> APIRouter:
    """Make the endpoints.

    Args:
        suggester: Who makes suggestions.
        store: Where they are kept.
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
        suggestion = await suggester.suggest(request, asked)
        await store.keep(asked, suggestion, principal=principal)
        suggester.count(suggestion)
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
