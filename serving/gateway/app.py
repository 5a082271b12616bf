"""The gateway as an ASGI application (stage 7).

A request passes through five layers: observed, authenticated, let in, taken in, answered. This module
joins them; it knows no process, port or file.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
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
from serving.backends import Priority
from serving.ehr.fhir_outcomes import FHIR_JSON
from serving.ehr.joining import add_ehr_layers, join_ehr
from serving.ehr.settings import EhrSettings
from serving.gateway.access import AccessTable
from serving.gateway.active import ActiveVersion
from serving.gateway.admission import Admission
from serving.gateway.answering import Answering
from serving.gateway.auth import AuthenticationMiddleware, acting, check_place
from serving.gateway.bulk_routes import bulk_router
from serving.gateway.callers import Callers
from serving.gateway.database_health import DatabaseHealth
from serving.gateway.entrance import EntranceMiddleware
from serving.gateway.headers import SecurityHeadersMiddleware
from serving.gateway.intake import JSON, NDJSON, BodyRule, IntakeMiddleware
from serving.gateway.job_routes import job_router
from serving.gateway.jobs import JobWorker
from serving.gateway.json_shape import check_shape
from serving.gateway.line_answering import LineAnswering
from serving.gateway.metrics import Metrics
from serving.gateway.observe import ObserveMiddleware
from serving.gateway.openapi import document_problems
from serving.gateway.operation_routes import operation_router
from serving.gateway.problems import add_problem_handlers
from serving.gateway.settings import GatewaySettings
from serving.gateway.storing import SuggestionStore
from serving.gateway.suggesting import Suggester
from serving.gateway.suggestion_routes import suggestion_router
from serving.gateway.text_reads import TextReadMiddleware
from serving.gateway.time_limit import TimeLimitMiddleware

__all__ = ["Gauges", "create_app"]

_DESCRIPTION: Final = """Suggests medical codes from the notes of an encounter, each with its evidence.

Every path under `/v1/` needs a key: `Authorization: Bearer KEY`. Errors are problem+json (RFC 9457).
Offsets of evidence count Unicode code points, as Python does; JavaScript's string indices differ
after characters beyond the basic plane. On the manual route the codes are withheld.

Every suggestion is stored with its notes before it is answered, in the database alone, until the
retention policy purges it: review and retraining need them.
"""
_NO_EHR: Final = EhrSettings()
Gauges = Mapping[str, tuple[str, "Callable[[], float]"]]


def _watch_admission(metrics: Metrics, admission: Admission) -> None:
    metrics.watch("admission_wait_seconds", "How long the work under way will take.", lambda: admission.wait_seconds)
    metrics.watch("characters_per_second", "Measured rate of the model.", lambda: admission.characters_per_second)
    metrics.watch_each(
        "admitted",
        "Requests that were let in and have not left.",
        label="priority",
        values={priority.value: partial(admission.num_of, priority) for priority in Priority},
    )


def create_app(
    settings: GatewaySettings,
    *,
    active: ActiveVersion,
    engine: Engine,
    feedback: FeedbackSettings,
    reasons: ReasonCodes,
    systems: CodeSystems,
    gauges: Gauges | None = None,
    ehr: EhrSettings = _NO_EHR,
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
        ehr: Which EHRs may call, and how their resources are read.

    Returns:
        The application.
    """
    metrics = Metrics()
    database = DatabaseHealth(engine, cache_seconds=settings.canary_cache_seconds)
    metrics.watch_version(lambda: active.current.name)
    metrics.watch_drift(lambda: (active.current.name, active.current.drift))
    is_passed_over = ("1 while the primary backend is passed over.", lambda: active.current.dispatcher.is_open)
    for name, (description, value) in {"primary_passed_over": is_passed_over, **(gauges or {})}.items():
        metrics.watch(name, description, value)

    admission = Admission(settings.admission)
    _watch_admission(metrics, admission)
    store = SuggestionStore(engine, settings=feedback)
    suggester = Suggester(settings, active=active, metrics=metrics, admission=admission)
    answering = Answering(engine, store=store)
    worker = JobWorker(settings.jobs, engine=engine, suggester=suggester, store=store, admission=admission)
    metrics.watch("job_items_under_way", "Items of jobs that are worked on here.", lambda: worker.num_under_way)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        working = asyncio.create_task(worker.run(), name="job-worker")
        yield
        working.cancel()
        await asyncio.wait({working})
        await active.current.dispatcher.close()

    # Hospitals' networks are closed: the page's scripts come from here, not from a content delivery network.
    app = FastAPIOffline(title="chartloop", description=_DESCRIPTION, lifespan=lifespan, redoc_url=None)
    add_problem_handlers(app, retry_after_seconds=settings.probe_seconds)
    lines = LineAnswering(settings.bulk, suggester=suggester, answering=answering, admission=admission)
    ehr_routers = join_ehr(
        ehr,
        engine=engine,
        feedback=feedback,
        reasons=reasons,
        systems=systems,
        suggester=suggester,
        store=store,
        answering=answering,
    )
    routers = (
        ehr_routers.fhir,
        bulk_router(settings.bulk, answering=lines),
        suggestion_router(suggester=suggester, store=store, answering=answering),
        job_router(settings, engine=engine, on_submitted=worker.wake),
        query_router(engine, acting=acting, settings=feedback, rerun=suggester.suggest_again),
        decision_router(engine, acting=acting, settings=feedback, reasons=reasons, systems=systems),
        adjudication_router(engine, acting=acting, settings=feedback, systems=systems),
        training_set_router(engine, acting=acting),
        governance_router(engine, acting=acting),
    )
    for router in routers:
        # Tells /docs of the key; the middleware below checks it.
        app.include_router(router, dependencies=[Depends(check_place), Depends(HTTPBearer(auto_error=False))])
    app.include_router(ehr_routers.cds, dependencies=[Depends(check_place)])
    app.include_router(operation_router(active, metrics=metrics, database=database))
    # The one added last is outermost.
    app.add_middleware(
        IntakeMiddleware,
        max_bytes=settings.max_body_bytes,
        timeout_seconds=settings.body_timeout_seconds,
        rules={
            ("POST", "/v1/fhir/suggestions"): BodyRule((JSON, FHIR_JSON), max_bytes=settings.max_body_bytes),
            ("POST", "/v1/suggestions/bulk"): BodyRule((NDJSON,), max_bytes=None),
            ("POST", "/v1/jobs"): BodyRule((JSON, NDJSON), max_bytes=settings.jobs.max_body_bytes),
        },
        check_shape=partial(
            check_shape, max_depth=settings.security.max_json_depth, max_keys=settings.security.max_json_keys
        ),
    )
    app.add_middleware(
        EntranceMiddleware,
        admission=admission,
        deadline_seconds=settings.deadline_seconds,
        max_bytes=settings.max_body_bytes,
    )
    app.add_middleware(TextReadMiddleware, engine=engine, retry_after_seconds=settings.probe_seconds)
    table = AccessTable(app.routes, metrics_need_key=settings.security.metrics_need_key)
    document_problems(app, lines=table.lines)
    app.add_middleware(
        AuthenticationMiddleware,
        callers=Callers(engine, cache_seconds=settings.key_cache_seconds, oidc=settings.security.oidc),
        table=table,
        settings=settings.security,
        retry_after_seconds=settings.probe_seconds,
    )
    add_ehr_layers(app, ehr)
    app.add_middleware(
        TimeLimitMiddleware,
        limit_seconds=settings.body_timeout_seconds + settings.deadline_seconds,
        streams=("/v1/suggestions/bulk",),
        retry_after_seconds=settings.probe_seconds,
    )
    app.add_middleware(ObserveMiddleware, metrics=metrics)
    app.add_middleware(SecurityHeadersMiddleware, hsts_seconds=settings.security.hsts_seconds)
    return app
