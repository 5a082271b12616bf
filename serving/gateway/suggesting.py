"""From a request to a suggestion: let in, scored, reviewed, built; nothing is stored here (stage 7).

New requests, the answers to physician queries, which ask anew, streams and jobs all come through it.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request

from clinical_coding.suggestions import Latency, Suggestion, SuggestionRequest
from serving.backends import DeadlineExceededError, Priority
from serving.gateway.active import ActiveVersion
from serving.gateway.admission import Admission, Ticket
from serving.gateway.dispatch import Scored
from serving.gateway.exchange import exchange_of
from serving.gateway.metrics import Metrics
from serving.gateway.problems import ProblemError
from serving.gateway.reviewing import read_notes
from serving.gateway.settings import GatewaySettings
from serving.tracing import span

__all__ = ["Suggester", "check_in_time"]

T = TypeVar("T")
# Reviews are pure Python: more at once only take the interpreter from each other, and from the event loop.
_REVIEWS_AT_ONCE: Final = 2


class Suggester:
    """Makes suggestions with the version that answers at the moment."""

    def __init__(
        self, settings: GatewaySettings, *, active: ActiveVersion, metrics: Metrics, admission: Admission
    ) -> None:
        """Name what it takes.

        Args:
            settings: Limits and times.
            active: The version that answers.
            metrics: Where suggestions are counted.
            admission: Who may come in.
        """
        self._settings = settings
        self._active = active
        self._metrics = metrics
        self._admission = admission
        self._limiter: CapacityLimiter | None = None

    async def suggest(
        self,
        request: Request,
        asked: SuggestionRequest,
        *,
        priority: Priority = Priority.INTERACTIVE,
        give_up_at: float | None = None,
    ) -> Suggestion:
        """Suggest codes on behalf of whoever sent an HTTP request.

        Args:
            request: The work is dropped when its sender leaves.
            asked: What to suggest codes for.
            priority: Whether others may go first.
            give_up_at: When nobody waits any more, on the monotonic clock; as the sender's headers say when
                None, else the settings' deadline from now.

        Returns:
            The whole suggestion, codes included on every route.

        Raises:
            ProblemError: The notes are too long, there is too much to do, or the client left.
            BackendError: Nobody could score them in time; see ``serving.backends``.
        """
        exchange = exchange_of(request.scope)
        exchange.give_up_at = give_up_at or exchange.give_up_at or time.monotonic() + self._settings.deadline_seconds
        exchange.facts |= {"num_notes": len(asked.notes), "num_characters": _num_characters(asked)}
        making = self.make(
            asked,
            trace_id=exchange.trace_id,
            priority=priority,
            give_up_at=exchange.give_up_at,
            arrived_at=exchange.arrived_at,
            ticket=exchange.ticket,
        )
        suggestion = await _unless_client_leaves(request, making)
        exchange.facts |= {
            "suggestion_id": suggestion.suggestion_id,
            "degraded": suggestion.degraded,
            "decision": suggestion.route.decision.value,
            "num_codes": len(suggestion.codes),
            "num_findings": len(suggestion.findings),
            "num_queries": len(suggestion.queries),
            "version": suggestion.version.number or 0,
        }
        return suggestion

    async def suggest_again(self, request: Request, asked: SuggestionRequest) -> Suggestion:
        """The same for a request whose notes a physician's answer amended, which others store."""
        suggestion = await self.suggest(request, asked)
        self.count(suggestion)
        return suggestion

    async def make(
        self,
        asked: SuggestionRequest,
        *,
        trace_id: str,
        priority: Priority = Priority.INTERACTIVE,
        give_up_at: float | None = None,
        arrived_at: float | None = None,
        ticket: Ticket | None = None,
    ) -> Suggestion:
        """Suggest codes for whoever asks without an HTTP request of their own.

        Args:
            asked: What to suggest codes for.
            trace_id: Names the request in the log.
            priority: Whether others may go first.
            give_up_at: When nobody waits any more, on the monotonic clock; the settings' deadline from now when None.
            arrived_at: When the request came, on the same clock; now when None.
            ticket: Its place among the work under way, where it was let in already.

        Returns:
            The whole suggestion, codes included on every route.

        Raises:
            ProblemError: The notes are too long, or there is too much to do.
            BackendError: Nobody could score them in time; see ``serving.backends``.
        """
        arrived_at = arrived_at or time.monotonic()
        give_up_at = give_up_at or time.monotonic() + self._settings.deadline_seconds
        num_characters = self._check_length(asked)
        with self._let_in(ticket, num_characters=num_characters, give_up_at=give_up_at, priority=priority) as place:
            suggestion = await self._make(
                asked, trace_id=trace_id, priority=priority, give_up_at=give_up_at, arrived_at=arrived_at
            )
            place.is_done = True
        check_in_time(give_up_at)
        return suggestion

    def count(self, suggestion: Suggestion, *, store_seconds: float | None = None) -> None:
        """Count a suggestion among those that were answered."""
        self._metrics.count_suggestion(suggestion, store_seconds=store_seconds)

    def count_replay(self) -> None:
        """Count a suggestion that was answered before, under the same key."""
        self._metrics.replays.inc()

    @contextmanager
    def _let_in(
        self, ticket: Ticket | None, *, num_characters: int, give_up_at: float, priority: Priority
    ) -> Iterator[Ticket]:
        if ticket is not None:
            self._admission.resize(ticket, num_characters)
            yield ticket
        else:
            with self._admission.admit(num_characters, give_up_at=give_up_at, priority=priority) as new:
                yield new

    async def _make(
        self, asked: SuggestionRequest, *, trace_id: str, priority: Priority, give_up_at: float, arrived_at: float
    ) -> Suggestion:
        began_at = time.monotonic()
        with self._active.use() as served:
            # The model runs in another process, so that reading the notes costs no time beside it.
            reading = asyncio.ensure_future(self._in_thread(partial(read_notes, asked.notes)))
            try:
                with span("score", attributes={"chartloop.priority": priority.value}):
                    scored = await served.dispatcher.score(asked.notes, priority=priority, give_up_at=give_up_at)
                scored_at = time.monotonic()
                read = await reading
            finally:
                reading.cancel()
            build = partial(served.builder.build, asked, scored=scored, read=read, trace_id=trace_id)
            with span("build"):
                suggestion = await self._in_thread(build)
            self._metrics.count_batch(scored.timings)
            served.count_drift(scored)
        latency = _measure(scored, arrived_at=arrived_at, began_at=began_at, scored_at=scored_at)
        return suggestion.model_copy(update={"latency": latency})

    async def _in_thread(self, work: Callable[[], T]) -> T:
        # Belongs to an event loop, so that it is made inside of one.
        self._limiter = self._limiter or CapacityLimiter(_REVIEWS_AT_ONCE)
        return await run_sync(work, limiter=self._limiter)

    def _check_length(self, asked: SuggestionRequest) -> int:
        num_characters = _num_characters(asked)
        if num_characters > self._settings.max_note_characters:
            most = self._settings.max_note_characters
            detail = f"the notes hold {num_characters:,} characters; at most {most:,} are read"
            raise ProblemError("too-large", detail)
        return num_characters


def check_in_time(give_up_at: float | None) -> None:
    """See that somebody still waits: a late answer may be taken for the answer to something else.

    Raises:
        DeadlineExceededError: Nobody does.
    """
    if give_up_at is not None and time.monotonic() > give_up_at:
        raise DeadlineExceededError("the suggestion was not ready within the deadline")


def _measure(scored: Scored, *, arrived_at: float, began_at: float, scored_at: float) -> Latency:
    queued = 0.0 if scored.timings is None else min(scored.timings.queued_seconds, scored_at - began_at)
    done_at = time.monotonic()
    parts = {
        "admitted_ms": began_at - arrived_at,
        "queued_ms": queued,
        "model_ms": scored_at - began_at - queued,
        "review_ms": done_at - scored_at,
        "total_ms": done_at - arrived_at,
    }
    return Latency(**{name: round(1000 * seconds, 3) for name, seconds in parts.items()})


def _num_characters(asked: SuggestionRequest) -> int:
    return sum(len(note.text) for note in asked.notes)


async def _unless_client_leaves(request: Request, suggesting: Coroutine[Any, Any, Suggestion]) -> Suggestion:
    """Suggest, but drop the work when nobody waits for it any more."""
    work = asyncio.create_task(suggesting)
    # The body was read whole, so the next message can only be the client's leaving.
    leaving = asyncio.ensure_future(request.receive())
    both: set[asyncio.Future[Any]] = {work, leaving}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ProblemError("client-left", "the client left before the answer")
        return work.result()
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
