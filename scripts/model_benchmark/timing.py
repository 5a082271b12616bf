"""Times that can be compared: every candidate runs in every round, in turning order, on the same work."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

__all__ = ["median", "seconds", "side_by_side"]


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, until the device has done it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each candidate in each round, after one round that does not count.

    Each round begins with another candidate, so that a machine that slows down slows all of them.
    """
    names, taken = list(candidates), {name: list[float]() for name in candidates}
    for turn in range(rounds + 1):
        at = turn % len(names)
        for name in names[at:] + names[:at]:
            took = seconds(candidates[name], device)
            if turn:
                taken[name].append(took)
    return taken


def median(taken: list[float]) -> float:
    """Median of the rounds."""
    return statistics.median(taken)
