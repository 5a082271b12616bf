"""``/v1/suggestions/bulk``: requests come as a stream of lines, and suggestions go as one (stage 7)."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request, Response

from ledger.principals import Principal
from serving.gateway.answering import check_key
from serving.gateway.auth import require
from serving.gateway.bulk import BulkStream
from serving.gateway.examples import BULK_ANSWER_EXAMPLE, BULK_EXAMPLE, problem_responses
from serving.gateway.exchange import exchange_of
from serving.gateway.intake import NDJSON
from serving.gateway.line_answering import LineAnswering, StreamOrigin
from serving.gateway.problems import ProblemError, retry_after
from serving.gateway.settings import BulkSettings
from serving.gateway.suggestion_routes import MAY_ASK

__all__ = ["bulk_router", "ndjson_body"]

# Room for the number of the line.
_MAX_KEY_CHARACTERS: Final = 96
_FULL_RETRY_SECONDS: Final = 10.0


def ndjson_body(example: str) -> dict[str, Any]:
    """Describe a body of suggestion requests, one a line, for OpenAPI.

    Args:
        example: A body.
    """
    content = {
        "schema": {"type": "string", "description": "One SuggestionRequest as JSON a line."},
        "example": example,
    }
    return {"required": True, "content": {NDJSON: content}}


def bulk_router(settings: BulkSettings, *, answering: LineAnswering) -> APIRouter:
    """Make the endpoint.

    Args:
        settings: Limits and times.
        answering: Who answers lines.
    """
    router = APIRouter(prefix="/v1", tags=["suggestions"])
    problems = problem_responses(
        *("no-key", "wrong-key", "wrong-role", "wrong-media-type", "invalid-request", "queue-full", "no-database")
    )
    success: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "One line a request as it is done, in any order, and lines that tell the progress.",
            "content": {NDJSON: {"schema": {"type": "string"}, "example": BULK_ANSWER_EXAMPLE}},
        }
    }
    open_streams: set[BulkStream] = set()

    @router.post(
        "/suggestions/bulk",
        response_class=Response,
        responses=problems | success,
        openapi_extra={"requestBody": ndjson_body(BULK_EXAMPLE)},
    )
    async def suggest_in_bulk(
        request: Request,
        principal: Annotated[Principal, Depends(require(*MAY_ASK))],
        idempotency_key: Annotated[
            str | None,
            Header(
                alias="Idempotency-Key",
                min_length=1,
                max_length=_MAX_KEY_CHARACTERS,
                description="Of the stream. Sent again under it, lines that were answered are answered from the store.",
            ),
        ] = None,
    ) -> Response:
        """Suggest codes for many encounters while they come; interactive requests go first.

        Each line is a SuggestionRequest, and is answered with `{"line": n, "record_id": …, "suggestion": {…}}` or
        `{"line": n, "problem": {…}}` once it is done, in any order. Every second a line tells how far the stream is:
        `{"progress": {"read": …, "answered": …, "failed": …}}`; the last one adds `"complete"`, which is true when
        every line was answered. Read the answers while you send: what nobody takes holds up what is read.
        """
        if idempotency_key is not None:
            check_key(idempotency_key, max_characters=_MAX_KEY_CHARACTERS)
        if len(open_streams) >= settings.max_streams:
            detail = f"{settings.max_streams} streams are open"
            raise ProblemError("queue-full", detail, headers=retry_after(_FULL_RETRY_SECONDS))
        trace_id = exchange_of(request.scope).trace_id
        origin = StreamOrigin(principal, trace_id, idempotency_key)
        stream = BulkStream(answering, origin=origin, settings=settings, on_end=open_streams.discard)
        open_streams.add(stream)
        return stream

    return router
