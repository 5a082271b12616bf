"""What /proc tells of a process: its name, and whether it runs, is stopped or is dead. Linux only."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

__all__ = ["StopWatch", "name_and_state"]

_STOPPED_STATES: Final = frozenset("Tt")
# A debugger or a job control stops a process for a moment; whoever is stopped longer answers nobody.
_STOPPED_AFTER_SECONDS: Final = 0.5


def name_and_state(pid: int) -> tuple[str, str] | None:
    """The name, of at most 15 characters, and the state letter of a process; None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return name, rest.split()[0]


class StopWatch:
    """Tells processes that were stopped (SIGSTOP) for longer than a moment, since such a one looks alive to all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stopped_since: dict[int, float] = {}

    def is_any_stopped(self, pids: Iterable[int]) -> bool:
        """Whether one of these has been stopped at each look for half a second; to be asked several times a second."""
        now = self._clock()
        stopped = [pid for pid in pids if (found := name_and_state(pid)) and found[1] in _STOPPED_STATES]
        self._stopped_since = {pid: self._stopped_since.get(pid, now) for pid in stopped}
        return any(now - since >= _STOPPED_AFTER_SECONDS for since in self._stopped_since.values())
