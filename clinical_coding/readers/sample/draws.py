"""Drawing from sequences with a seeded generator; the same on every platform.

Only ``random()`` of the generator is used, whose sequence Python fixes across versions, and
weights are sums of quotients, which IEEE arithmetic rounds alike everywhere.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from random import Random
from typing import TypeVar

__all__ = ["between", "chance", "pick", "pick_early", "pick_weighted"]

T = TypeVar("T")


def chance(rng: Random, probability: float) -> bool:
    """True as often as the probability says."""
    return rng.random() < probability


def pick(rng: Random, items: Sequence[T]) -> T:
    """Draw one item, all alike."""
    return items[int(rng.random() * len(items))]


def between(rng: Random, low: int, high: int) -> int:
    """Draw a whole number, both ends included."""
    return low + int(rng.random() * (high - low + 1))


def pick_weighted(rng: Random, items: Sequence[T], *, cumulative: Sequence[float]) -> T:
    """Draw one item by its share of the running sum of weights."""
    return items[min(bisect_right(cumulative, rng.random() * cumulative[-1]), len(items) - 1)]


@cache
def _long_tail(size: int) -> tuple[float, ...]:
    return tuple(accumulate(1 / (rank + 1) for rank in range(size)))


def pick_early(rng: Random, items: Sequence[T]) -> T:
    """Draw one item, the earlier the likelier, by Zipf's law."""
    return pick_weighted(rng, items, cumulative=_long_tail(len(items)))
