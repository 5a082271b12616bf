"""No request keeps its client for ever: what a stopped database or disk holds up is answered 503 in the end.

The work itself may go on in its thread, and what it makes durable then is there; nobody was told that it is. Streams
end by themselves and are left alone.
"""

import asyncio
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.exchange import exchange_of
from serving.gateway.problems import ProblemError, problem_response, retry_after

__all__ = ["TimeLimitMiddleware"]


class TimeLimitMiddleware:
    """Answers for whoever does not."""

    def __init__(
        self, app: ASGIApp, *, limit_seconds: float, streams: Collection[str], retry_after_seconds: float
    ) -> None:
        """Describe the limit.

        Args:
            app: What is limited.
            limit_seconds: From the first byte of the request to the first of the answer.
            streams: Paths whose answers take as long as they take.
            retry_after_seconds: When to come back.
        """
        self._app = app
        self._limit_seconds = limit_seconds
        self._streams = frozenset(streams)
        self._retry_after_seconds = retry_after_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in self._streams:
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            limit.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(self._limit_seconds) as limit:
                await self._app(scope, receive, send_and_note)
        except TimeoutError:
            if has_begun or not limit.expired():
                raise
            detail = f"nothing came back within {self._limit_seconds:g} s; whether it was stored is not known"
            error = ProblemError("unavailable", detail, headers=retry_after(self._retry_after_seconds))
            await problem_response(error, trace_id=exchange_of(scope).trace_id)(scope, receive, send)
