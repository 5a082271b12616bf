"""How fast work gets done, measured while there is any (for ``serving.gateway.admission``).

A ratio of two sums that fade with busy time alone: a quiet night does not make the measure forget. Work that
is under way counts as time, so that a model that hangs is seen to be slow before anything has failed.
"""

import time
from collections.abc import Callable
from typing import Final

__all__ = ["Throughput"]

_LEAST_PER_SECOND: Final = 1.0


class Throughput:
    """Characters a second, of a gateway that is busy."""

    def __init__(
        self, *, initial_per_second: float, half_life_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with an assumption that weighs as much as one half-life of measuring.

        Args:
            initial_per_second: Assumed before anything is measured.
            half_life_seconds: Busy time after which a measurement has lost half its weight.
            clock: In seconds.
        """
        self._characters = initial_per_second * half_life_seconds
        self._seconds = half_life_seconds
        self._half_life_seconds = half_life_seconds
        self._clock = clock
        self._busy_since: float | None = None

    def begin(self) -> None:
        """Note that there is work now; more work while there is some changes nothing."""
        if self._busy_since is None:
            self._busy_since = self._clock()

    def end(self, num_characters: int, *, is_idle: bool) -> None:
        """Note that some work ended.

        Args:
            num_characters: How much was done; 0 when it failed.
            is_idle: Whether nothing is left.
        """
        now = self._clock()
        seconds = 0.0 if self._busy_since is None else now - self._busy_since
        fade = 0.5 ** (seconds / self._half_life_seconds)
        self._characters = self._characters * fade + num_characters
        self._seconds = self._seconds * fade + seconds
        self._busy_since = None if is_idle else now

    def per_second(self) -> float:
        """Tell the measure."""
        seconds = 0.0 if self._busy_since is None else self._clock() - self._busy_since
        return max(_LEAST_PER_SECOND, self._characters / (self._seconds + seconds))
