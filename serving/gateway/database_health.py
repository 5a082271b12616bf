"""Whether the database answers: without it nothing can be stored, so nothing is answered."""

import asyncio
import time
from typing import Final

from anyio.to_thread import run_sync
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

__all__ = ["DatabaseHealth"]

_TIMEOUT_SECONDS: Final = 1.0


class DatabaseHealth:
    """Asks the database for nothing, now and then. All methods belong to one event loop."""

    def __init__(self, engine: Engine, *, cache_seconds: float) -> None:
        """Name the database.

        Args:
            engine: Of it.
            cache_seconds: How long an answer is believed.
        """
        self._engine = engine
        self._cache_seconds = cache_seconds
        self._asking: asyncio.Future[bool] | None = None
        self._is_well = False
        self._believed_until = 0.0

    async def check(self) -> bool:
        """Whether it answers within a second; while an earlier question is open, it does not."""
        if time.monotonic() < self._believed_until:
            return self._is_well
        if self._asking is None:
            self._asking = asyncio.ensure_future(run_sync(self._ask, abandon_on_cancel=True))
            self._asking.add_done_callback(self._take)
        await asyncio.wait({self._asking}, timeout=_TIMEOUT_SECONDS)
        return self._is_well and time.monotonic() < self._believed_until

    def _take(self, asked: asyncio.Future[bool]) -> None:
        self._asking = None
        self._is_well = not asked.cancelled() and asked.exception() is None and asked.result()
        self._believed_until = time.monotonic() + max(self._cache_seconds, 0.01)

    def _ask(self) -> bool:
        try:
            with self._engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True
