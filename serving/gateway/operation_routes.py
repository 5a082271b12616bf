"""What those who run the gateway ask: does it live, is it ready, what has it counted."""

import asyncio

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from clinical_coding.suggestions import VersionName
from serving.gateway.active import ActiveVersion
from serving.gateway.database_health import DatabaseHealth
from serving.gateway.metrics import Metrics

__all__ = ["operation_router"]


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


def operation_router(active: ActiveVersion, *, metrics: Metrics, database: DatabaseHealth) -> APIRouter:
    """Make the endpoints, which need no key.

    Args:
        active: The version that answers.
        metrics: What is counted.
        database: Where answers are stored first.
    """
    router = APIRouter(tags=["operations"])

    @router.get("/livez")
    @router.get("/healthz")
    async def live() -> Live:
        """Whether the gateway runs; under both names that probes use."""
        return Live()

    @router.get("/startupz")
    async def started() -> Live:
        """Whether the first version has been loaded and has answered: before, nothing answers at this address."""
        return Live()

    @router.get(
        "/readyz",
        responses={503: {"model": Readiness, "description": "No backend or no database answers, or the gateway ends."}},
    )
    async def ready(response: Response) -> Readiness:
        """Whether a suggestion would be answered and stored now, by whom, and by which version; not while it ends."""
        with active.use() as served:
            health, has_database = await asyncio.gather(served.dispatcher.check(), database.check())
        is_ready = health.is_ready and has_database and not active.is_draining
        response.status_code = 200 if is_ready else 503
        metrics.ready.set(is_ready)
        return Readiness(
            status="ready" if is_ready else "draining" if active.is_draining else "not-ready",
            degraded=health.is_ready and not health.primary,
            version=served.name,
        )

    @router.get("/metrics", response_class=Response)
    async def read_metrics() -> Response:
        """Counters for Prometheus; they hold no clinical text and no ids."""
        return metrics.response()

    return router
