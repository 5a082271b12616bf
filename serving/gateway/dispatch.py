"""Which backend answers: the primary while it is well, else the fallback.

A dead Triton may take a second to say so, a hung one says nothing. After a few failures in a row it
is passed over, and a canary in the background, at nobody's cost, finds out when it is back. A request
that fails alone, or takes too long while a canary is answered, goes to the fallback and harms nobody
else. A canary is also what readiness means here, for Triton calls a model ready whose process has died.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from opentelemetry.trace import SpanKind

from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Note
from serving.backends import (
    Backend,
    BackendError,
    BackendUnavailableError,
    DeadlineExceededError,
    InvalidInputError,
    Priority,
    QueueFullError,
    RequestFailedError,
    ScoredCodes,
    Timings,
)
from serving.gateway.settings import GatewaySettings
from serving.tracing import record_timings, span

__all__ = ["Dispatcher", "Health", "Scored"]

_CANARY: Final = (Note(note_id="canary", text="Patient seen for follow-up of hypertension."),)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Scored:
    """Ranked codes, who gave them, and how long that took."""

    codes: tuple[PredictedCode, ...]
    degraded: bool
    """Whether the fallback gave them."""
    timings: Timings | None
    waited_seconds: float
    """From the question to the answer, failures before it included."""


@dataclass(frozen=True, slots=True)
class Health:
    """Who answers a canary now."""

    primary: bool
    fallback: bool
    """Asked only when the primary does not answer."""

    @property
    def is_ready(self) -> bool:
        """Whether a request would be answered."""
        return self.primary or self.fallback


class Dispatcher:
    """Asks the primary backend, and the fallback in its place. All methods belong to one event loop."""

    def __init__(self, primary: Backend, *, fallback: Backend | None, settings: GatewaySettings) -> None:
        self._primary = primary
        self._fallback = fallback
        self._settings = settings
        self._num_failures = 0
        self._probe: asyncio.Task[None] | None = None
        self._doubt: asyncio.Task[None] | None = None
        self._checking = asyncio.Lock()
        self._health = Health(primary=False, fallback=False)
        self._health_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the primary is being passed over."""
        return self._probe is not None

    async def score(
        self, notes: Sequence[Note], *, priority: Priority = Priority.INTERACTIVE, give_up_at: float | None = None
    ) -> Scored:
        """Score the notes of one encounter within the deadline.

        Args:
            notes: Read together as one document.
            priority: Whether others may go first.
            give_up_at: When nobody waits any more, on the monotonic clock; the settings' deadline from now when None.

        Raises:
            BackendError: Nobody could; see ``serving.backends``.
        """
        asked_at = time.monotonic()
        allowed_seconds = self._settings.deadline_seconds if give_up_at is None else give_up_at - asked_at
        if not self.is_open:
            try:
                scored = await self._ask_primary(notes, priority=priority, timeout_seconds=allowed_seconds)
            except (BackendUnavailableError, DeadlineExceededError, RequestFailedError):
                if self._fallback is None:
                    raise
            else:
                self._remember(Health(primary=True, fallback=False))
                return _answer(scored, degraded=False, asked_at=asked_at)
        if self._fallback is None:
            raise BackendUnavailableError("the model server does not answer, and there is no fallback")
        remaining_seconds = asked_at + allowed_seconds - time.monotonic()
        if remaining_seconds <= 0:
            raise DeadlineExceededError("the model server failed too late for the fallback to answer in time")
        with span("fallback.score", kind=SpanKind.CLIENT):
            scored = await self._fallback.score(notes, timeout_seconds=remaining_seconds, priority=priority)
            record_timings(scored.timings)
        return _answer(scored, degraded=True, asked_at=asked_at)

    async def check(self) -> Health:
        """Ask for a canary's codes, unless somebody was answered within the last moment."""
        # One at a time: whoever waits here takes the result of the one before.
        async with self._checking:
            if time.monotonic() >= self._health_until:
                primary = not self.is_open and await self._answers(self._primary)
                fallback = not primary and self._fallback is not None and await self._answers(self._fallback)
                self._remember(Health(primary=primary, fallback=fallback))
            return self._health

    async def close(self) -> None:
        """Stop looking for the primary's return."""
        watches = {task for task in (self._probe, self._doubt) if task is not None}
        for task in watches:
            task.cancel()
        if watches:
            await asyncio.wait(watches)

    async def _ask_primary(self, notes: Sequence[Note], *, priority: Priority, timeout_seconds: float) -> ScoredCodes:
        share = self._settings.primary_share_of_deadline if self._fallback is not None else 1.0
        try:
            with span("primary.score", kind=SpanKind.CLIENT):
                scored = await self._primary.score(notes, timeout_seconds=share * timeout_seconds, priority=priority)
                record_timings(scored.timings)
        except BackendUnavailableError as error:
            self._count_failure(error)
            raise
        except DeadlineExceededError as error:
            # Notes may be long and the primary well: a canary tells.
            if self._doubt is None and not self.is_open:
                self._doubt = asyncio.create_task(self._count_unless_well(error), name="primary-doubt")
            raise
        except (QueueFullError, InvalidInputError, RequestFailedError):
            self._num_failures = 0
            raise
        self._num_failures = 0
        return scored

    def _count_failure(self, error: BackendError) -> None:
        self._num_failures += 1
        _log.warning("primary-failed", error=type(error).__name__, num_failures=self._num_failures)
        if self._num_failures >= self._settings.failures_to_open and self._probe is None:
            self._health_until = 0.0
            self._probe = asyncio.create_task(self._probe_until_well(), name="primary-probe")

    async def _count_unless_well(self, error: BackendError) -> None:
        try:
            if not await self._answers(self._primary):
                self._count_failure(error)
        finally:
            self._doubt = None

    async def _probe_until_well(self) -> None:
        _log.warning("primary-passed-over")
        while not await self._answers(self._primary):
            await asyncio.sleep(self._settings.probe_seconds)
        self._num_failures = 0
        self._probe = None
        self._health_until = 0.0
        _log.warning("primary-back")

    async def _answers(self, backend: Backend) -> bool:
        try:
            await backend.score(_CANARY, timeout_seconds=self._settings.canary_timeout_seconds)
        except QueueFullError:
            return True  # Busy is well.
        except BackendError:
            return False
        except Exception as error:
            # A probe that ended here would leave the primary passed over for good.
            _log.error("canary-failed", error=type(error).__name__)
            return False
        return True

    def _remember(self, health: Health) -> None:
        self._health = health
        self._health_until = time.monotonic() + self._settings.canary_cache_seconds


def _answer(scored: ScoredCodes, *, degraded: bool, asked_at: float) -> Scored:
    return Scored(scored.codes, degraded, scored.timings, time.monotonic() - asked_at)
