"""How often: requests of a caller, and failures to prove who one is from an address.

Buckets that fill with time, in this process alone; where several gateways run, each allows as much.
"""

import time
from collections import OrderedDict
from typing import Final

__all__ = ["Buckets"]

_MAX_NAMES: Final = 10_000
_SECONDS_AT_ONCE: Final = 10.0


class Buckets:
    """A bucket of tokens for each name; a full one lasts ten seconds of the rate."""

    def __init__(self, *, max_names: int = _MAX_NAMES) -> None:
        self._max_names = max_names
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """How much is left, and when that was so; the one used last at the end."""

    def wait_seconds(self, name: str, *, per_minute: int) -> float:
        """How long until a token is there; 0 when there is one now. Takes nothing."""
        missing = 1.0 - self._level(name, per_minute=per_minute)
        return max(0.0, missing * 60 / per_minute)

    def take(self, name: str, *, per_minute: int) -> float:
        """Take a token.

        Args:
            name: Whose.
            per_minute: How many there are in a minute.

        Returns:
            0.0 when it was taken; else the seconds until there is one.
        """
        level = self._level(name, per_minute=per_minute)
        if level < 1.0:
            return (1.0 - level) * 60 / per_minute
        self._levels[name] = (level - 1.0, time.monotonic())
        self._levels.move_to_end(name)
        if len(self._levels) > self._max_names:
            # Whoever was quiet longest has the fullest bucket, and loses least.
            self._levels.popitem(last=False)
        return 0.0

    def _level(self, name: str, *, per_minute: int) -> float:
        full = max(1.0, per_minute * _SECONDS_AT_ONCE / 60)
        level, at = self._levels.get(name, (full, 0.0))
        return min(full, level + (time.monotonic() - at) * per_minute / 60)
