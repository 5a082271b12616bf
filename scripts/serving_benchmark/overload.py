"""More arrivals than can be answered: what is answered in time, how fast the rest is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from scripts.serving_benchmark.load import Measured, Sent, quantile

__all__ = ["Overloaded", "summarise", "words_per_second"]

_REFUSED: Final = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Overloaded:
    """What became of the arrivals."""

    num_sent: int
    num_answered: int
    """In time."""
    num_late: int
    """Codes that came after their deadline."""
    num_refused: int
    num_timed_out: int
    """Told that no answer came in time."""
    num_other: int
    """Answered in any other way, or not at all."""
    num_degraded: int
    """Answered by the standby worker, of those in time."""
    notes_per_second: float
    """Answered in time, until the last answer."""
    words_per_second: float
    refusal_p50_seconds: float | None
    refusal_p99_seconds: float | None


def summarise(sent: Sequence[Sent], *, deadline_seconds: float) -> Overloaded:
    """Count.

    Args:
        sent: Every request.
        deadline_seconds: How long an answer is worth something.
    """
    codes = [one for one in sent if one.status == httpx.codes.OK]
    in_time = [one for one in codes if one.seconds <= deadline_seconds]
    refused = [one.seconds for one in sent if one.status in _REFUSED]
    timed_out = sum(one.status == httpx.codes.GATEWAY_TIMEOUT for one in sent)
    # What waits at the last arrival is still worked on: the time for that counts too.
    seconds = max((one.answered_at for one in in_time), default=0.0) - min(one.sent_at for one in sent)
    return Overloaded(
        num_sent=len(sent),
        num_answered=len(in_time),
        num_late=len(codes) - len(in_time),
        num_refused=len(refused),
        num_timed_out=timed_out,
        num_other=len(sent) - len(codes) - len(refused) - timed_out,
        num_degraded=sum(one.degraded for one in in_time),
        notes_per_second=len(in_time) / seconds if in_time else 0.0,
        words_per_second=sum(one.num_words for one in in_time) / seconds if in_time else 0.0,
        refusal_p50_seconds=quantile(refused, 0.5) if refused else None,
        refusal_p99_seconds=quantile(refused, 0.99) if refused else None,
    )


def words_per_second(level: Measured, *, num_words: int) -> float:
    """Of a level of load that answered notes of so many words in all."""
    return level.notes_per_second * num_words / level.num_notes
