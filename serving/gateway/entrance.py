"""The gateway's door: a request for a suggestion that could not be answered in time is refused unread.

So a refusal costs next to nothing, which is what keeps it quick when there are many. The size that the
client declares stands for the size of the notes until they are known.
"""

import time
from contextlib import ExitStack
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.backends import Priority
from serving.gateway.admission import Admission
from serving.gateway.exchange import Exchange, exchange_of
from serving.gateway.problems import FieldError, ProblemError, problem_response

__all__ = ["TIMEOUT_HEADER", "EntranceMiddleware"]

TIMEOUT_HEADER: Final = "X-Request-Timeout-Ms"
_GUARDED: Final = ("POST", "/v1/suggestions")
_MAX_DIGITS: Final = 9


class EntranceMiddleware:
    """Reads how long the sender waits, and lets requests for a suggestion in, or not."""

    def __init__(self, app: ASGIApp, *, admission: Admission, deadline_seconds: float, max_bytes: int) -> None:
        self._app = app
        self._admission = admission
        self._deadline_seconds = deadline_seconds
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        with ExitStack() as place:
            try:
                self._let_in(scope, exchange=exchange, place=place)
            except ProblemError as error:
                await problem_response(error, trace_id=exchange.trace_id)(scope, receive, send)
                return
            await self._app(scope, receive, send)

    def _let_in(self, scope: Scope, *, exchange: Exchange, place: ExitStack) -> None:
        headers = dict(scope["headers"])
        timeout_seconds = _read_timeout(headers.get(TIMEOUT_HEADER.lower().encode()))
        if timeout_seconds is not None:
            exchange.give_up_at = exchange.arrived_at + min(timeout_seconds, self._deadline_seconds)
        declared = headers.get(b"content-length", b"")
        if (scope["method"], scope["path"]) != _GUARDED or not declared.isdigit() or int(declared) > self._max_bytes:
            return
        give_up_at = exchange.give_up_at or time.monotonic() + self._deadline_seconds
        ticket = self._admission.admit(int(declared), give_up_at=give_up_at, priority=Priority.INTERACTIVE)
        exchange.ticket = place.enter_context(ticket)


def _read_timeout(header: bytes | None) -> float | None:
    if header is None:
        return None
    if not header.isdigit() or len(header) > _MAX_DIGITS or int(header) == 0:
        message = "must be a whole number of milliseconds, at least 1"
        detail = f"the header {TIMEOUT_HEADER} {message}"
        raise ProblemError("invalid-request", detail, errors=[FieldError(field=TIMEOUT_HEADER, message=message)])
    return int(header) / 1000
