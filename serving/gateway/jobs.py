"""The items of jobs are answered, whenever there is room beside what somebody waits for (stage 7).

Every gateway on a database runs one of these; they share the items by leasing them. The suggestion is
stored, and the item settled, in one transaction: an item that was begun twice is answered once.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
from anyio.to_thread import run_sync
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from clinical_coding.suggestions import SuggestionRequest
from ledger.group_commit import write
from ledger.job_leases import (
    Claimed,
    LeaseLostError,
    answer_item,
    claim_items,
    fail_item,
    has_items,
    release_item,
)
from serving.backends import (
    BackendUnavailableError,
    DeadlineExceededError,
    Priority,
    QueueFullError,
    RequestFailedError,
)
from serving.gateway.admission import Admission
from serving.gateway.line_answering import problem_of
from serving.gateway.problems import ProblemError
from serving.gateway.settings import JobSettings
from serving.gateway.storing import SuggestionStore
from serving.gateway.suggesting import Suggester

__all__ = ["JobWorker"]

# Beyond scoring: review, a busy database, a slow clock elsewhere.
_LEASE_MARGIN_SECONDS: Final = 60.0
_log = structlog.get_logger(__name__)


class JobWorker:
    """Works on items while it runs. All methods belong to one event loop."""

    def __init__(
        self,
        settings: JobSettings,
        *,
        engine: Engine,
        suggester: Suggester,
        store: SuggestionStore,
        admission: Admission,
    ) -> None:
        """Name what it takes.

        Args:
            settings: Limits and times.
            engine: A migrated database.
            suggester: Who makes suggestions.
            store: Where they are kept.
            admission: Who may come in; items wait for room.
        """
        self._settings = settings
        self._engine = engine
        self._suggester = suggester
        self._store = store
        self._admission = admission
        self._worker_id = str(uuid.uuid4())
        self._news = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def num_under_way(self) -> int:
        """Items that are worked on here."""
        return sum(not task.done() for task in self._under_way)

    def wake(self) -> None:
        """Look for items now: some were submitted."""
        self._news.set()

    async def run(self) -> None:
        """Work until cancelled; what is under way then is given back."""
        try:
            while True:
                try:
                    await self._take_up()
                except Exception as error:
                    # A worker that ended here would leave every job waiting.
                    _log.error("job-worker-failed", error=type(error).__name__)
                    await asyncio.sleep(self._settings.poll_seconds)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _take_up(self) -> None:
        await self._admission.wait_for_room()
        num_free = self._settings.max_under_way - len(self._under_way)
        claimed = await self._claim(num_free) if num_free else []
        self._under_way |= {asyncio.create_task(self._work(item), name="job-item") for item in claimed}
        await self._pause(is_idle=bool(num_free) and len(claimed) < num_free)

    async def _pause(self, *, is_idle: bool) -> None:
        """Wait until looking again may be worth it: always when an item is done, else when there is news."""
        news = asyncio.ensure_future(self._news.wait())
        waited_for = {*self._under_way, news} if is_idle else self._under_way
        timeout_seconds = self._settings.poll_seconds if is_idle else None
        try:
            await asyncio.wait(waited_for, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        self._news.clear()
        self._under_way = {task for task in self._under_way if not task.done()}

    async def _claim(self, num_items: int) -> list[Claimed]:
        lease_seconds = self._settings.item_deadline_seconds + _LEASE_MARGIN_SECONDS
        claim = partial(claim_items, worker_id=self._worker_id, num_items=num_items, lease_seconds=lease_seconds)
        try:
            # Looking is free; leasing takes the database's only writer.
            if not await run_sync(has_items, self._engine):
                return []
            return await run_sync(write, self._engine, claim)
        except SQLAlchemyError as error:
            _log.error("job-items-not-claimed", error=type(error).__name__)
            return []

    async def _work(self, item: Claimed) -> None:
        try:
            await self._answer(item)
        except LeaseLostError:
            _log.warning("job-item-lost", job_id=item.job_id, line=item.line)
        except asyncio.CancelledError:
            await self._settle(partial(release_item, item=item, is_attempt=False))
            raise
        except (QueueFullError, BackendUnavailableError, SQLAlchemyError) as error:
            await self._postpone(item, error=error, is_attempt=False)
        except (DeadlineExceededError, RequestFailedError) as error:
            await self._postpone(item, error=error, is_attempt=True)
        except ProblemError as error:
            if error.kind == "queue-full":
                await self._postpone(item, error=error, is_attempt=False)
            else:
                await self._fail(item, error=error)
        except Exception as error:
            await self._fail(item, error=error)

    async def _answer(self, item: Claimed) -> None:
        if item.principal.revoked_at is not None:
            raise ProblemError("wrong-key", "the key that submitted the job was revoked")
        if item.num_attempts > self._settings.max_attempts:
            # It ended a gateway each time.
            raise ProblemError("scoring-failed", f"{self._settings.max_attempts} attempts did not come to an end")
        asked = SuggestionRequest.model_validate_json(item.request)
        give_up_at = time.monotonic() + self._settings.item_deadline_seconds
        suggestion = await self._suggester.make(
            asked, trace_id=item.trace_id, priority=Priority.BULK, give_up_at=give_up_at
        )
        settle = partial(answer_item, item=item, suggestion_id=suggestion.suggestion_id)
        await self._store.keep(asked, suggestion, principal=item.principal, also=settle)
        self._suggester.count(suggestion)

    async def _postpone(self, item: Claimed, *, error: Exception, is_attempt: bool) -> None:
        if is_attempt and item.num_attempts >= self._settings.max_attempts:
            await self._fail(item, error=error)
            return
        # Held meanwhile, so that nobody tries it again at once.
        try:
            await asyncio.sleep(self._settings.poll_seconds)
        finally:
            await self._settle(partial(release_item, item=item, is_attempt=is_attempt))

    async def _fail(self, item: Claimed, *, error: Exception) -> None:
        problem = problem_of(error, trace_id=item.trace_id).model_dump_json(exclude_defaults=True)
        await self._settle(partial(fail_item, item=item, problem=problem))

    async def _settle(self, work: Callable[[Connection], None]) -> None:
        try:
            await run_sync(write, self._engine, work)
        except (LeaseLostError, SQLAlchemyError) as error:
            # The lease ends by itself, and the item is done again.
            _log.warning("job-item-not-settled", error=type(error).__name__)
