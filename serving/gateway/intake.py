"""Reads a request's body whole, within its limits of size, time and type, before the application sees it.

A body that is a stream is left to its endpoint, which has limits of its own.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.exchange import API_PREFIX, exchange_of
from serving.gateway.problems import ProblemError, problem_response

__all__ = ["JSON", "NDJSON", "BodyRule", "IntakeMiddleware"]

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class BodyRule:
    """What bodies a path takes, where they differ from the others'."""

    media_types: tuple[str, ...]
    max_bytes: int | None
    """None where the endpoint reads the body as it comes."""


class IntakeMiddleware:
    """Refuses bodies that are too large, whether declared or streamed, and clients that are too slow."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        timeout_seconds: float,
        rules: Mapping[tuple[str, str], BodyRule],
        check_shape: Callable[[bytes], None],
    ) -> None:
        """Set the limits.

        Args:
            app: Who sees what is taken in.
            max_bytes: Of a body.
            timeout_seconds: How long a body may take to arrive.
            rules: Methods and paths with limits of their own.
            check_shape: Raises a problem for a JSON body that no parser should see.
        """
        self._app = app
        self._rule = BodyRule((JSON,), max_bytes)
        self._rules = rules
        self._check_shape = check_shape
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rule = self._rules.get((scope["method"], scope["path"]), self._rule)
        try:
            if rule.max_bytes is None:
                _require_type(scope, rule)
                await self._app(scope, receive, send)
                return
            body = await self._read(scope, receive, max_bytes=rule.max_bytes)
            if body and scope["path"].startswith(API_PREFIX):
                _require_type(scope, rule)
            if body and _is_json(_media_type(scope)):
                self._check_shape(body)
        except ProblemError as error:
            response = problem_response(error, trace_id=exchange_of(scope).trace_id)
            await response(scope, receive, send)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive, *, max_bytes: int) -> bytes:
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > max_bytes:
            raise _too_large(max_bytes)
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
                    if len(chunks) > max_bytes:
                        raise _too_large(max_bytes)
        except TimeoutError:
            detail = f"the body did not arrive within {self._timeout_seconds:g} s"
            raise ProblemError("slow-body", detail, headers={"Connection": "close"}) from None
        return bytes(chunks)


def _too_large(max_bytes: int) -> ProblemError:
    detail = f"the body holds more than {max_bytes:,} bytes"
    return ProblemError("too-large", detail, headers={"Connection": "close"})


def _require_type(scope: Scope, rule: BodyRule) -> None:
    if _media_type(scope) not in rule.media_types:
        raise ProblemError("wrong-media-type", f"the body is not declared as {' or '.join(rule.media_types)}")


def _is_json(media_type: str) -> bool:
    return media_type == JSON or media_type.endswith("+json")


def _media_type(scope: Scope) -> str:
    header: bytes = dict(scope["headers"]).get(b"content-type", b"")
    return header.partition(b";")[0].strip().lower().decode("latin-1")
