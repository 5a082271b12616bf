"""A stream of requests in, a stream of suggestions out, line by line (stage 7).

Lines are answered as they are done, in any order, each with the number of its line. A few are under way at
once; while they are, no more is read, so that a sender that is faster than the model is slowed by its own
connection. Nobody is refused for want of room here: bulk work waits for its turn. A client that leaves stops the
work; what was answered until then is stored.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.gateway.exchange import exchange_of
from serving.gateway.intake import NDJSON
from serving.gateway.line_answering import AnsweredLine, LineAnswering, StreamOrigin, problem_of
from serving.gateway.ndjson import Line, read_lines
from serving.gateway.problems import ProblemError
from serving.gateway.settings import BulkSettings

__all__ = ["BulkStream"]

_HEADERS: Final = [(b"content-type", NDJSON.encode()), (b"cache-control", b"no-store")]


class _ClientLeftError(Exception):
    """Nobody reads any more."""


class BulkStream(Response):
    """An answer that is written while the question is read."""

    def __init__(
        self,
        answering: LineAnswering,
        *,
        origin: StreamOrigin,
        settings: BulkSettings,
        on_end: Callable[["BulkStream"], None],
    ) -> None:
        """Describe the stream.

        Args:
            answering: Who answers lines.
            origin: Whose lines they are.
            settings: Limits and times.
            on_end: Told when it is over, however it ended.
        """
        super().__init__()
        self._answering = answering
        self._origin = origin
        self._settings = settings
        self._on_end = on_end
        self._num_read = 0
        self._num_answered = 0
        self._num_failed = 0
        self._sending = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, answer and write until either side ends."""
        try:
            await self._run(scope, receive, send)
        finally:
            self._on_end(self)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        ticking = asyncio.create_task(self._tick(send), name="bulk-progress")
        fault: ProblemError | None = None
        try:
            async with asyncio.timeout(self._settings.max_stream_seconds):
                await self._answer_all(receive, send)
        except _ClientLeftError:
            return
        except TimeoutError:
            fault = ProblemError("stream-ended", f"it lasted longer than {self._settings.max_stream_seconds:g} s")
        except ProblemError as error:
            fault = error
        finally:
            ticking.cancel()
            await asyncio.wait({ticking})
            counts = {"num_read": self._num_read, "num_answered": self._num_answered, "num_failed": self._num_failed}
            exchange_of(scope).facts |= counts
        with suppress(_ClientLeftError):
            if fault is not None:
                problem = problem_of(fault, trace_id=self._origin.trace_id)
                await self._write(send, f'{{"problem":{problem.model_dump_json(exclude_defaults=True)}}}')
            await self._write(send, self._progress(is_complete=fault is None))
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer_all(self, receive: Receive, send: Send) -> None:
        under_way: set[asyncio.Task[None]] = set()
        try:
            async for line in read_lines(self._read(receive), max_bytes=self._settings.max_line_bytes):
                self._num_read += 1
                under_way.add(asyncio.create_task(self._answer(line, send)))
                while len(under_way) >= self._settings.max_under_way:
                    under_way = await _until_one_is_done(under_way)
            await self._finish(under_way, receive)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _finish(self, under_way: set[asyncio.Task[None]], receive: Receive) -> None:
        """Wait for the last lines; the client can say nothing more, and only leave."""
        leaving = asyncio.ensure_future(receive())
        try:
            while under_way:
                await asyncio.wait({*under_way, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    raise _ClientLeftError
                for task in [task for task in under_way if task.done()]:
                    under_way.remove(task)
                    task.result()
        finally:
            leaving.cancel()
            await asyncio.wait({leaving})

    async def _read(self, receive: Receive) -> AsyncIterator[bytes]:
        more = True
        while more:
            try:
                async with asyncio.timeout(self._settings.idle_seconds):
                    message = await receive()
            except TimeoutError:
                raise ProblemError("slow-body", f"nothing came for {self._settings.idle_seconds:g} s") from None
            if message["type"] == "http.disconnect":
                raise _ClientLeftError
            yield message.get("body", b"")
            more = message.get("more_body", False)

    async def _answer(self, line: Line, send: Send) -> None:
        answered = await self._answering.answer(line, origin=self._origin)
        self._num_answered += answered.problem is None
        self._num_failed += answered.problem is not None
        await self._write(send, _as_json(answered))

    async def _tick(self, send: Send) -> None:
        with suppress(_ClientLeftError):
            while True:
                await asyncio.sleep(self._settings.progress_seconds)
                await self._write(send, self._progress())

    def _progress(self, *, is_complete: bool | None = None) -> str:
        counts = {"read": self._num_read, "answered": self._num_answered, "failed": self._num_failed}
        return json.dumps({"progress": counts} | ({} if is_complete is None else {"complete": is_complete}))

    async def _write(self, send: Send, line: str) -> None:
        message = {"type": "http.response.body", "body": f"{line}\n".encode(), "more_body": True}
        try:
            async with asyncio.timeout(self._settings.idle_seconds), self._sending:
                await send(message)
        except TimeoutError:
            # Whoever takes nothing for so long is gone, whatever the connection says.
            raise _ClientLeftError from None


async def _until_one_is_done(under_way: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    done, rest = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return rest


def _as_json(answered: AnsweredLine) -> str:
    head = f'{{"line":{answered.number}'
    if answered.record_id is not None:
        head += f',"record_id":{json.dumps(answered.record_id)}'
    if answered.suggestion is not None:
        return f'{head},"suggestion":{answered.suggestion.model_dump_json()}}}'
    assert answered.problem is not None
    return f'{head},"problem":{answered.problem.model_dump_json(exclude_defaults=True)}}}'
