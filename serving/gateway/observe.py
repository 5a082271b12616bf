"""The gateway's outermost layer: names each request, counts it, logs one line, and survives its failure.

The server's own report of a failure prints the exception's message, which may quote a note. So
no exception gets past this layer, and the line says only of which type it was and where it rose.
"""

import time
import traceback
from typing import Final

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.exchange import Exchange, open_exchange
from serving.gateway.metrics import Metrics
from serving.gateway.problems import ProblemError, problem_response
from serving.tracing import remote_parent, span

__all__ = ["ObserveMiddleware"]

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Asked every few seconds, by machines.
_UNTRACED: Final = frozenset({"/healthz", "/livez", "/readyz", "/startupz", "/metrics"})
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
        if scope["path"] in _UNTRACED:
            await self._answer(scope, receive, send, exchange=exchange)
            return
        # Without a caller's span it is the first of its trace, whatever runs around.
        parent = Context()
        if exchange.parent_id is not None:
            parent = remote_parent(exchange.trace_id, exchange.parent_id, is_sampled=exchange.is_sampled)
        with span("request", kind=SpanKind.SERVER, parent=parent) as around:
            context = around.get_span_context()
            if context.is_valid:
                exchange.trace_id = f"{context.trace_id:032x}"
            status = 0
            try:
                status = await self._answer(scope, receive, send, exchange=exchange)
            finally:
                _describe(around, scope, exchange=exchange, status=status)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, *, exchange: Exchange) -> int:
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
        return status

    def _record(self, scope: Scope, *, exchange: Exchange, status: int, seconds: float) -> None:
        # The path itself is the client's text; the route's pattern is ours.
        route = _route_of(scope)
        if exchange.problem is not None:
            self._metrics.problems.labels(kind=exchange.problem).inc()
        self._metrics.requests.labels(route=route, status=str(status)).inc()
        self._metrics.latency.labels(route=route).observe(seconds)
        _log.info(
            "request",
            method=_method_of(scope),
            route=route,
            status=status,
            seconds=round(seconds, 4),
            trace_id=exchange.trace_id,
            principal_id=exchange.principal.id if exchange.principal else None,
            **exchange.facts,
        )


def _route_of(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "none"))


def _method_of(scope: Scope) -> str:
    return str(scope["method"]) if scope["method"] in _METHODS else "other"


def _describe(around: Span, scope: Scope, *, exchange: Exchange, status: int) -> None:
    """Tell the span what the log line tells."""
    if not around.is_recording():
        return
    route, method = _route_of(scope), _method_of(scope)
    around.update_name(f"{method} {route}")
    around.set_attributes({"http.request.method": method, "http.route": route})
    around.set_attributes({f"chartloop.{name}": value for name, value in exchange.facts.items()})
    if exchange.principal is not None:
        around.set_attribute("chartloop.principal_id", exchange.principal.id)
    if exchange.problem is not None:
        around.set_attribute("error.type", exchange.problem)
    if status:
        around.set_attribute("http.response.status_code", status)
    if status >= 500:
        around.set_status(StatusCode.ERROR)


def _log_failure(error: Exception, exchange: Exchange) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-5:]]
    _log.error("request-failed", error=type(error).__name__, where=where, trace_id=exchange.trace_id)
