"""What those who run the gateway ask: does it live, is it ready, what has it counted."""

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from clinical_coding.suggestions import VersionName
from serving.gateway.active import ActiveVersion
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


def operation_router(active: ActiveVersion, *, metrics: Metrics) -> APIRouter:
    """Make the endpoints, which need no key.

    Args:
        active: The version that answers.
        metrics: What is counted.
    """
    router = APIRouter(tags=["operations"])

    @router.get("/healthz")
    async def live() -> Live:
        """Whether the gateway runs."""
        return Live()

    @router.get("/readyz", responses={503: {"model": Readiness, "description": "No backend answers a canary."}})
    async def ready(response: Response) -> Readiness:
        """Whether a canary inference is answered, by whom, and by which version."""
        with active.use() as served:
            health = await served.dispatcher.check()
        response.status_code = 200 if health.is_ready else 503
        return Readiness(
            status="ready" if health.is_ready else "not-ready",
            degraded=health.is_ready and not health.primary,
            version=served.name,
        )

    @router.get("/metrics", response_class=Response)
    async def read_metrics() -> Response:
        """Counters for Prometheus; they hold no clinical text and no ids."""
        return metrics.response()

    return router
