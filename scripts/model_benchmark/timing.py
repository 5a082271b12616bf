"""Times that can be compared: every candidate runs in every round, in turning order, on the same work.

And the most memory that was held.
"""

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

__all__ = ["now", "peak_gigabytes", "seconds", "side_by_side"]


def now(device: torch.device) -> float:
    """The clock in seconds, read once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call."""
    start = now(device)
    work()
    return now(device) - start


def side_by_side(candidates: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, float]:
    """Median of the seconds that each candidate gives, after one round that does not count.

    Each round begins with another candidate, so that a machine that slows down slows all of them.
    """
    names, taken = list(candidates), {name: list[float]() for name in candidates}
    for turn in range(rounds + 1):
        at = turn % len(names)
        for name in names[at:] + names[:at]:
            took = candidates[name]()
            if turn:
                taken[name].append(took)
    return {name: statistics.median(times) for name, times in taken.items()}


def peak_gigabytes(device: torch.device) -> float:
    """Most memory held so far: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    status = Path("/proc/self/status")
    if status.is_file():
        # What getrusage gives, a process inherits from the one that started it.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
