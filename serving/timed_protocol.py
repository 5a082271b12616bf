"""HTTP/1.1 as uvicorn speaks it, but a client has so long to send a request's head.

uvicorn waits for ever for the rest of a half-sent head, so that idle sockets would pile up (CWE-400). The body's
time is limited in ``serving.gateway.intake``.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["TimedH11Protocol"]

_HEAD_SECONDS: Final = 10.0


class TimedH11Protocol(H11Protocol):
    """Closes connections whose next request's head does not arrive whole in time."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client came: its first request is due."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Bytes came: of a body, or of a head that was due."""
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left."""
        self._cancel_timer()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if not is_answering and not self.transport.is_closing():
            self.transport.close()

    def _cancel_timer(self) -> None:
        timer, self._head_timer = self._head_timer, None
        if timer is not None:
            timer.cancel()
