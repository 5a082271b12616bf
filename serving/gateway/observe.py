"""The gateway's outermost layer: names each request, counts it, logs one line, and survives its failure.

The server's own report of a failure prints the exception's message, which may quote a note. So
no exception gets past this layer, and the line says only of which type it was and where it rose.
"""

import time
import traceback

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.exchange import Exchange, open_exchange
from serving.gateway.metrics import Metrics
from serving.gateway.problems import ProblemError, problem_response

__all__ = ["ObserveMiddleware"]

_log = structlog.get_logger(__name__)


class ObserveMiddleware:
    """Wraps everything else."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = open_exchange(scope)
        started = time.perf_counter()
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-trace-id", exchange.trace_id.encode())]
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, send_and_note)
            except Exception as error:
                _log_failure(error, exchange)
                if status == 0:
                    problem = ProblemError("internal", f"an unexpected {type(error).__name__}")
                    await problem_response(problem, trace_id=exchange.trace_id)(scope, receive, send_and_note)
            finally:
                # Cancelled requests, too, leave their line; status 0 says that nothing was answered.
                self._record(scope, exchange=exchange, status=status, seconds=time.perf_counter() - started)

    def _record(self, scope: Scope, *, exchange: Exchange, status: int, seconds: float) -> None:
        # The path itself is the client's text; the route's pattern is ours.
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(route=route, status=str(status)).inc()
        self._metrics.latency.labels(route=route).observe(seconds)
        _log.info(
            "request",
            method=scope["method"] if scope["method"] in _METHODS else "other",
            route=route,
            status=status,
            seconds=round(seconds, 4),
            trace_id=exchange.trace_id,
            principal_id=exchange.principal.id if exchange.principal else None,
            **exchange.facts,
        )


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _log_failure(error: Exception, exchange: Exchange) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-5:]]
    _log.error("request-failed", error=type(error).__name__, where=where, trace_id=exchange.trace_id)
