"""The gateway as an ASGI application (stage 7).

A request passes through four layers: observed, authenticated, taken in, answered. This module
joins them; it knows no process, port or file.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from sqlalchemy import Engine

from clinical_coding.code_systems import CodeSystems
from feedback.adjudication_routes import adjudication_router
from feedback.decision_routes import decision_router
from feedback.query_routes import query_router
from feedback.settings import FeedbackSettings, ReasonCodes
from feedback.training_set_routes import training_set_router
from governance.routes import governance_router
from serving.gateway.active import ActiveVersion
from serving.gateway.auth import AuthenticationMiddleware, KeyRing, acting
from serving.gateway.intake import IntakeMiddleware
from serving.gateway.metrics import Metrics
from serving.gateway.observe import ObserveMiddleware
from serving.gateway.operation_routes import operation_router
from serving.gateway.problems import add_problem_handlers
from serving.gateway.settings import GatewaySettings
from serving.gateway.storing import SuggestionStore
from serving.gateway.suggesting import Suggester
from serving.gateway.suggestion_routes import suggestion_router

__all__ = ["Gauges", "create_app"]

_DESCRIPTION: Final = """Suggests medical codes from the notes of an encounter, each with its evidence.

Every path under `/v1/` needs a key: `Authorization: Bearer KEY`. Errors are problem+json (RFC 9457).
Offsets of evidence count Unicode code points, as Python does; JavaScript's string indices differ
after characters beyond the basic plane. On the manual route the codes are withheld.

Every suggestion is stored with its notes before it is answered, in the database alone, until the
retention policy purges it: review and retraining need them.
"""
Gauges = Mapping[str, tuple[str, "Callable[[], float]"]]


def create_app(
    settings: GatewaySettings,
    *,
    active: ActiveVersion,
    engine: Engine,
    feedback: FeedbackSettings,
    reasons: ReasonCodes,
    systems: CodeSystems,
    gauges: Gauges | None = None,
) -> FastAPI:
    """Join the gateway's parts.

    Args:
        settings: Limits and times.
        active: The version that answers, which may change while the application runs.
        engine: A migrated database.
        feedback: How feedback is gathered.
        reasons: The reasons that coders can give.
        systems: The releases that judge and describe the codes of decisions and cases.
        gauges: More metrics: name, description and what to read when Prometheus asks.

    Returns:
        The application.
    """
    metrics = Metrics()
    metrics.watch_version(lambda: active.current.name)
    is_passed_over = ("1 while the primary backend is passed over.", lambda: active.current.dispatcher.is_open)
    for name, (description, value) in {"primary_passed_over": is_passed_over, **(gauges or {})}.items():
        metrics.watch(name, description, value)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await active.current.dispatcher.close()

    # Hospitals' networks are closed: the page's scripts come from here, not from a content delivery network.
    app = FastAPIOffline(title="chartloop", description=_DESCRIPTION, lifespan=lifespan, redoc_url=None)
    add_problem_handlers(app, retry_after_seconds=settings.probe_seconds)
    store = SuggestionStore(engine, settings=feedback)
    suggester = Suggester(settings, active=active, metrics=metrics)
    routers = (
        suggestion_router(suggester=suggester, store=store),
        query_router(engine, acting=acting, settings=feedback, rerun=suggester.suggest_again),
        decision_router(engine, acting=acting, settings=feedback, reasons=reasons, systems=systems),
        adjudication_router(engine, acting=acting, settings=feedback, systems=systems),
        training_set_router(engine, acting=acting),
        governance_router(engine, acting=acting),
    )
    for router in routers:
        # Tells /docs of the key; the middleware below checks it.
        app.include_router(router, dependencies=[Depends(HTTPBearer(auto_error=False))])
    app.include_router(operation_router(active, metrics=metrics))
    # The one added last is outermost.
    app.add_middleware(
        IntakeMiddleware, max_bytes=settings.max_body_bytes, timeout_seconds=settings.body_timeout_seconds
    )
    key_ring = KeyRing(engine, cache_seconds=settings.key_cache_seconds)
    app.add_middleware(AuthenticationMiddleware, key_ring=key_ring, retry_after_seconds=settings.probe_seconds)
    app.add_middleware(ObserveMiddleware, metrics=metrics)
    return app
