"""Notes in the audit log, before stored clinical text goes out, who reads it; else it does not go out.

The entry holds the route and ids, never the text. It does not know who may read what.
"""

import json
from functools import partial
from typing import Any, Final

from anyio.to_thread import run_sync
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.audit_log import append
from ledger.group_commit import write
from serving.gateway.exchange import Exchange, exchange_of
from serving.gateway.problems import ProblemError, problem_response, retry_after

__all__ = ["TextReadMiddleware"]

_ID_FIELDS: Final = ("case_id", "query_id", "suggestion_id")
_MAX_SUBJECT: Final = 160


class TextReadMiddleware:
    """Holds back the answer of a route that reads text until the audit log knows of it."""

    def __init__(self, app: ASGIApp, *, engine: Engine, retry_after_seconds: float) -> None:
        self._app = app
        self._engine = engine
        self._retry_after_seconds = retry_after_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        place = exchange_of(scope).place if scope["type"] == "http" else None
        if place is None or not place.access.reads_text:
            await self._app(scope, receive, send)
            return
        held: Message | None = None
        is_refused = False

        async def send_once_noted(message: Message) -> None:
            nonlocal held, is_refused
            if is_refused:
                return
            if message["type"] == "http.response.start" and 200 <= message["status"] < 300 and message["status"] != 204:
                held = message
                return
            if held is not None:
                problem = await self._note(exchange_of(scope), message.get("body", b""))
                if problem is not None:
                    is_refused = True
                    await problem_response(problem, trace_id=exchange_of(scope).trace_id)(scope, receive, send)
                    return
                start, held = held, None
                await send(start)
            await send(message)

        await self._app(scope, receive, send_once_noted)

    async def _note(self, exchange: Exchange, body: bytes) -> ProblemError | None:
        assert exchange.place is not None and exchange.principal is not None
        ids = exchange.place.ids or _ids(body)
        # A page of nothing is no reading.
        if not ids:
            return None
        details = {"route": exchange.place.route, "ids": list(ids), "trace_id": exchange.trace_id}
        subject = f"{exchange.place.route} {ids[0]}"[:_MAX_SUBJECT]

        def work(connection: Connection) -> None:
            assert exchange.principal is not None
            append(
                connection,
                principal=exchange.principal,
                action="clinical-text-read",
                subject=subject,
                details=details,
            )

        try:
            await run_sync(partial(write, self._engine, work))
        except SQLAlchemyError:
            wait = retry_after(self._retry_after_seconds)
            return ProblemError("no-database", "the audit log cannot note this reading", headers=wait)
        return None


def _ids(body: bytes) -> tuple[str, ...]:
    """The ids that an answer tells at its top, or in the lists there."""
    try:
        answer: Any = json.loads(body)
    except ValueError:
        return ()
    if not isinstance(answer, dict):
        return ()
    parts = [answer, *(item for value in answer.values() if isinstance(value, list) for item in value)]
    found = (part[name] for part in parts if isinstance(part, dict) for name in _ID_FIELDS if name in part)
    return tuple(dict.fromkeys(one for one in found if isinstance(one, str)))
