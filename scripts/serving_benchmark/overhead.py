"""What the gateway adds to its Triton: the same notes asked of both, in turn, by one client."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.serving_benchmark.load import Ask, quantile

__all__ = ["Overhead", "measure_overhead"]


@dataclass(frozen=True, slots=True)
class Overhead:
    """Of the gateway over direct gRPC, in seconds."""

    p50_of_differences: float
    """Of each note's two times."""
    p99_of_differences: float
    """The same; it holds what is uneven on either side, as much as what the gateway adds."""
    difference_of_p99s: float


async def measure_overhead(gateway: Ask, triton: Ask, texts: Sequence[str], *, seed: int) -> Overhead:
    """Ask both for every text, now the one first, now the other."""
    generator = random.Random(seed)
    taken: dict[Ask, list[float]] = {gateway: [], triton: []}
    for text in texts:
        for ask in generator.sample([gateway, triton], 2):
            started = time.monotonic()
            await ask(text)
            taken[ask].append(time.monotonic() - started)
    differences = [ours - direct for ours, direct in zip(taken[gateway], taken[triton], strict=True)]
    return Overhead(
        quantile(differences, 0.5),
        quantile(differences, 0.99),
        quantile(taken[gateway], 0.99) - quantile(taken[triton], 0.99),
    )
