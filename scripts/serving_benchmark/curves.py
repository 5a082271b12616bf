"""Throughput at equal p99: what a comparison of two servers' curves says. Pure arithmetic."""

from collections.abc import Sequence
from itertools import pairwise

from scripts.serving_benchmark.load import Measured

__all__ = ["Curve", "best", "throughput_at"]

Curve = Sequence[Measured]


def best(curve: Sequence[Measured]) -> Measured:
    """The level with most notes a second."""
    return max(curve, key=lambda level: level.notes_per_second)


def throughput_at(curve: Sequence[Measured], p99_seconds: float) -> float | None:
    """Most notes a second that a server gives with a p99 of at most so much.

    Between two levels both are taken to change evenly. None where even a single client waits longer.
    """
    reached = [level.notes_per_second for level in curve if level.p99_seconds <= p99_seconds]
    for first, second in pairwise(sorted(curve, key=lambda level: level.num_clients)):
        low, high = sorted((first, second), key=lambda level: level.p99_seconds)
        if low.p99_seconds <= p99_seconds < high.p99_seconds:
            share = (p99_seconds - low.p99_seconds) / (high.p99_seconds - low.p99_seconds)
            reached.append(low.notes_per_second + share * (high.notes_per_second - low.notes_per_second))
    return max(reached, default=None)
