"""Who may come in: a request that could not be answered in time is refused before any work is done on it.

Without this, overload makes everybody late: all wait until their deadlines, and most of what is computed is
thrown away. So the work that is under way is counted in characters, the rate at which it gets done is measured,
and who would have to wait too long is told at once when to come back. Bulk work waits for its turn outside, until
little else is under way; interactive requests go ahead of it, in the model too.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from serving.backends import Priority
from serving.gateway.problems import ProblemError, retry_after
from serving.gateway.settings import AdmissionSettings
from serving.gateway.throughput import Throughput

__all__ = ["Admission", "Ticket"]

# What a request costs beyond its characters, in characters: review of a short note, storing, the answer.
_CHARACTERS_A_REQUEST: Final = 300
_TURN_POLL_SECONDS: Final = 0.05


@dataclass(slots=True, eq=False)
class Ticket:
    """One request that was let in."""

    priority: Priority
    num_characters: int
    is_done: bool = False
    """Whether its codes were scored, so that it tells of the rate."""


class Admission:
    """Counts the work under way, and lets in what can be done in time. All methods belong to one event loop."""

    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self._throughput = Throughput(
            initial_per_second=settings.initial_characters_per_second,
            half_life_seconds=settings.rate_half_life_seconds,
        )
        self._under_way: dict[Priority, set[Ticket]] = {priority: set() for priority in Priority}
        self.num_refused = 0
        """Interactive requests that were refused so far."""

    @property
    def num_under_way(self) -> int:
        """Requests that were let in and have not left."""
        return sum(map(len, self._under_way.values()))

    def num_of(self, priority: Priority) -> int:
        """The same of one priority."""
        return len(self._under_way[priority])

    @property
    def characters_per_second(self) -> float:
        """The measured rate."""
        return self._throughput.per_second()

    @property
    def wait_seconds(self) -> float:
        """How long the work under way will take."""
        return self._wait_seconds(*Priority)

    @contextmanager
    def admit(self, num_characters: int, *, give_up_at: float, priority: Priority) -> Iterator[Ticket]:
        """Let a request in until the block ends.

        Args:
            num_characters: Of its notes, or an estimate that is corrected with ``resize``.
            give_up_at: When nobody waits for its answer any more, on the monotonic clock.
            priority: Whether others may go first.

        Raises:
            ProblemError: It would be answered too late; the problem says when to come back.
        """
        excess_seconds = self._excess_seconds(num_characters, give_up_at=give_up_at, priority=priority)
        if excess_seconds is not None:
            self.num_refused += priority is Priority.INTERACTIVE
            detail = "the work under way leaves no room to answer in time"
            raise ProblemError("queue-full", detail, headers=retry_after(excess_seconds))
        ticket = Ticket(priority, num_characters)
        self._enter(ticket)
        try:
            yield ticket
        finally:
            self._leave(ticket)

    async def wait_for_room(self) -> None:
        """Wait until bulk work would be let in."""
        while self._excess_seconds(0, give_up_at=None, priority=Priority.BULK) is not None:
            await asyncio.sleep(_TURN_POLL_SECONDS)

    def resize(self, ticket: Ticket, num_characters: int) -> None:
        """Correct the size of a request, once it is known."""
        ticket.num_characters = num_characters

    def _enter(self, ticket: Ticket) -> None:
        self._under_way[ticket.priority].add(ticket)
        self._throughput.begin()

    def _leave(self, ticket: Ticket) -> None:
        self._under_way[ticket.priority].remove(ticket)
        done = _cost(ticket.num_characters) if ticket.is_done else 0
        self._throughput.end(done, is_idle=self.num_under_way == 0)

    def _excess_seconds(self, num_characters: int, *, give_up_at: float | None, priority: Priority) -> float | None:
        """By how much a request would come too late, so that it must come back after; None when it may come in."""
        settings = self._settings
        is_bulk = priority is Priority.BULK
        most_seconds = settings.bulk_wait_seconds if is_bulk else settings.max_wait_seconds
        most_requests = settings.max_requests * (settings.bulk_share if is_bulk else 1.0)
        # Interactive requests overtake bulk work; bulk work waits for everybody.
        ahead = tuple(Priority) if is_bulk else (Priority.INTERACTIVE,)
        if not any(self._under_way[one] for one in ahead):
            # Nobody is in the way. Should the estimate be too dark, this one mends it.
            return None
        wait_seconds = self._wait_seconds(*ahead)
        excess_seconds = wait_seconds - most_seconds
        if give_up_at is not None:
            own_seconds = _cost(num_characters) / self.characters_per_second
            allowed_seconds = settings.deadline_share * (give_up_at - time.monotonic())
            excess_seconds = max(excess_seconds, wait_seconds + own_seconds - allowed_seconds)
        num_requests = len(self._under_way[Priority.BULK]) if is_bulk else self.num_under_way
        if num_requests >= most_requests:
            excess_seconds = max(excess_seconds, wait_seconds / 2)
        return excess_seconds if excess_seconds > 0 else None

    def _wait_seconds(self, *priorities: Priority) -> float:
        tickets = (ticket for priority in priorities for ticket in self._under_way[priority])
        return sum(_cost(ticket.num_characters) for ticket in tickets) / self.characters_per_second


def _cost(num_characters: int) -> int:
    return num_characters + _CHARACTERS_A_REQUEST
