"""Reads a request's body whole, within its limits of size, time and type, before the application sees it."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.exchange import API_PREFIX, exchange_of
from serving.gateway.problems import ProblemError, problem_response

__all__ = ["IntakeMiddleware"]


class IntakeMiddleware:
    """Refuses bodies that are too large, whether declared or streamed, and clients that are too slow."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
            if body and scope["path"].startswith(API_PREFIX):
                _require_json(scope)
        except ProblemError as error:
            response = problem_response(error, trace_id=exchange_of(scope).trace_id)
            await response(scope, receive, send)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise self._too_large()
        chunks = bytearray()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ProblemError("client-left", "the client left while it sent the body")
                    chunks += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(chunks) > self._max_bytes:
                        raise self._too_large()
        except TimeoutError:
            detail = f"the body did not arrive within {self._timeout_seconds:g} s"
            raise ProblemError("slow-body", detail, headers={"Connection": "close"}) from None
        return bytes(chunks)

    def _too_large(self) -> ProblemError:
        detail = f"the body holds more than {self._max_bytes:,} bytes"
        return ProblemError("too-large", detail, headers={"Connection": "close"})


def _require_json(scope: Scope) -> None:
    media_type = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise ProblemError("wrong-media-type", "the body is not declared as application/json")
