"""The gateway as an ASGI application (stage 7).

A request passes through four layers: observed, authenticated, taken in, answered. This module
joins them; it knows no process, port or file.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, FastAPI, Request, Response
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine

from clinical_coding.bundle import Label
from clinical_coding.suggestions import Suggestion, SuggestionRequest, VersionName
from ledger.principals import Principal, Role
from serving.backends import Backend
from serving.gateway.auth import AuthenticationMiddleware, KeyRing, require
from serving.gateway.building import SuggestionBuilder
from serving.gateway.dispatch import Dispatcher, Scored
from serving.gateway.examples import REQUEST_EXAMPLES, SUGGESTION_EXAMPLE, problem_responses
from serving.gateway.exchange import exchange_of
from serving.gateway.intake import IntakeMiddleware
from serving.gateway.metrics import Metrics
from serving.gateway.observe import ObserveMiddleware
from serving.gateway.problems import ProblemError, add_problem_handlers
from serving.gateway.routing import RoutingSettings
from serving.gateway.settings import GatewaySettings

__all__ = ["Gauges", "create_app"]

_DESCRIPTION: Final = """Suggests medical codes from the notes of an encounter, each with its evidence.

Every path under `/v1/` needs a key: `Authorization: Bearer KEY`. Errors are problem+json (RFC 9457).
Offsets of evidence count Unicode code points, as Python does; JavaScript's string indices differ
after characters beyond the basic plane. On the manual route the codes are withheld. Notes are
scored and forgotten: nothing of a request is stored.
"""
# Reviewers judge models, not patients; a supervisor or an administrator may ask to see what coders see.
_MAY_ASK: Final = (Role.SERVICE, Role.CODER, Role.SUPERVISOR, Role.ADMIN)
Gauges = Mapping[str, tuple[str, "Callable[[], float]"]]


class Live(BaseModel):
    """The gateway runs."""

    status: str = "ok"


class Readiness(BaseModel):
    """Whether a suggestion would be answered now."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    status: str
    degraded: bool
    """True when the fallback would answer."""
    version: VersionName


def create_app(
    settings: GatewaySettings,
    *,
    primary: Backend,
    fallback: Backend | None,
    labels: Sequence[Label],
    version: VersionName,
    engine: Engine,
    routing: RoutingSettings,
    gauges: Gauges | None = None,
) -> FastAPI:
    """Join the gateway's parts.

    Args:
        settings: Limits and times.
        primary: Who answers; started and stopped by the caller.
        fallback: Who answers in its place; likewise.
        labels: The version's labels.
        version: The version that both serve.
        engine: A migrated database with the keys.
        routing: Thresholds of the route.
        gauges: More metrics: name, description and what to read when Prometheus asks.

    Returns:
        The application.
    """
    dispatcher = Dispatcher(primary, fallback=fallback, settings=settings)
    metrics = Metrics()
    metrics.watch("primary_passed_over", "1 while the primary backend is passed over.", lambda: dispatcher.is_open)
    for name, (description, value) in (gauges or {}).items():
        metrics.watch(name, description, value)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await dispatcher.close()

    # Hospitals' networks are closed: the page's scripts come from here, not from a content delivery network.
    app = FastAPIOffline(title="chartloop", description=_DESCRIPTION, lifespan=lifespan, redoc_url=None)
    add_problem_handlers(app, retry_after_seconds=settings.probe_seconds)
    builder = SuggestionBuilder(labels, version=version, routing=routing)
    app.include_router(_suggestions(settings, dispatcher=dispatcher, builder=builder, metrics=metrics))
    app.include_router(_operations(dispatcher, metrics=metrics, version=version))
    # The one added last is outermost.
    app.add_middleware(
        IntakeMiddleware, max_bytes=settings.max_body_bytes, timeout_seconds=settings.body_timeout_seconds
    )
    key_ring = KeyRing(engine, cache_seconds=settings.key_cache_seconds)
    app.add_middleware(AuthenticationMiddleware, key_ring=key_ring, retry_after_seconds=settings.probe_seconds)
    app.add_middleware(ObserveMiddleware, metrics=metrics)
    return app


def _suggestions(
    settings: GatewaySettings, *, dispatcher: Dispatcher, builder: SuggestionBuilder, metrics: Metrics
) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["suggestions"], dependencies=[Depends(HTTPBearer(auto_error=False))])
    problems = problem_responses(
        *("malformed-body", "no-key", "wrong-key", "wrong-role", "too-large", "invalid-request", "invalid-notes"),
        *("queue-full", "scoring-failed", "unavailable", "deadline"),
    )
    success: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"example": SUGGESTION_EXAMPLE}}}}

    @router.post("/suggestions", response_model=Suggestion, responses=problems | success)
    async def suggest(
        request: Request,
        asked: Annotated[SuggestionRequest, Body(openapi_examples=REQUEST_EXAMPLES)],
        _: Annotated[Principal, Depends(require(*_MAY_ASK))],
    ) -> Response:
        """Suggest codes for the notes of one encounter."""
        exchange = exchange_of(request.scope)
        num_characters = sum(len(note.text) for note in asked.notes)
        exchange.facts |= {"num_notes": len(asked.notes), "num_characters": num_characters}
        if num_characters > settings.max_note_characters:
            detail = f"the notes hold {num_characters:,} characters; at most {settings.max_note_characters:,} are read"
            raise ProblemError("too-large", detail)
        scored = await _unless_client_leaves(request, dispatcher.score(asked.notes))
        suggestion = builder.build(asked, scored=scored, trace_id=exchange.trace_id)
        exchange.facts |= {
            "suggestion_id": suggestion.suggestion_id,
            "degraded": suggestion.degraded,
            "decision": suggestion.route.decision.value,
            "num_codes": len(suggestion.codes),
        }
        metrics.suggestions.labels(decision=suggestion.route.decision.value).inc()
        metrics.degraded.inc(suggestion.degraded)
        # Written here: FastAPI would validate the whole suggestion a second time.
        return Response(suggestion.model_dump_json(), media_type="application/json")

    return router


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


def _operations(dispatcher: Dispatcher, *, metrics: Metrics, version: VersionName) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/healthz")
    async def live() -> Live:
        """Whether the gateway runs."""
        return Live()

    @router.get("/readyz", responses={503: {"model": Readiness, "description": "No backend answers a canary."}})
    async def ready(response: Response) -> Readiness:
        """Whether a canary inference is answered, and by whom."""
        health = await dispatcher.check()
        response.status_code = 200 if health.is_ready else 503
        return Readiness(
            status="ready" if health.is_ready else "not-ready",
            degraded=health.is_ready and not health.primary,
            version=version,
        )

    @router.get("/metrics", response_class=Response)
    async def read_metrics() -> Response:
        """Counters for Prometheus; they hold no clinical text and no ids."""
        return metrics.response()

    return router
