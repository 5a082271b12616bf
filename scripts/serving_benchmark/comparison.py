"""Each server's curve, notes a second and p99 by number of clients; and ours over a peer's at equal p99."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from scripts.benchmark_results import Row
from scripts.serving_benchmark.curves import Curve, best, throughput_at
from scripts.serving_benchmark.equality import answers_of, check_equal
from scripts.serving_benchmark.load import Ask, Codes, ask_with_clients
from scripts.serving_benchmark.peer_wire import Forward
from scripts.serving_benchmark.peers import Batching, Peer, ask_peer, fastapi_peer, litserve_peer, mlflow_peer
from scripts.serving_benchmark.processes import ProcessTree

__all__ = ["Comparison", "describe_curve", "measure_curve", "rows_beside"]

# The first is no batching at all, which on a CPU spares all padding.
_PADDED_BATCHING: Final = tuple(Batching(*one) for one in ((1, 0.0), (2, 0.02), (4, 0.02), (4, 0.2), (8, 0.2)))
_FAST_BATCHING: Final = tuple(Batching(*one) for one in ((1, 0.0), (8, 0.01), (16, 0.1)))

Start = Callable[[], AbstractContextManager[Peer]]


async def measure_curve(ask: Ask, texts: Sequence[str], *, levels: Sequence[int], tree: ProcessTree) -> Curve:
    """All texts at each number of clients, after some that do not count."""
    await ask_with_clients(ask, texts[: max(levels)], num_clients=max(levels), tree=tree)
    return [await ask_with_clients(ask, texts, num_clients=clients, tree=tree) for clients in levels]


def describe_curve(curve: Curve) -> list[dict[str, float]]:
    """For the results file."""
    return [asdict(level) for level in curve]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What every peer is asked, and how."""

    bundle: Path
    texts: Sequence[str]
    levels: Sequence[int]
    threads: int
    known_texts: Sequence[str]
    """Asked before anything is measured."""
    known_answers: Sequence[Codes]
    """Of our Triton to these."""
    tuning_texts: Sequence[str]
    """For each way of batching."""

    async def run(self) -> tuple[dict[str, Curve], dict[str, Curve]]:
        """Start each peer, see that it answers as ours does, and measure it.

        Returns:
            The curve of each peer, LitServe's with its best batching; and one level for each batching that was tried.

        Raises:
            ValueError: A peer does not start, or answers otherwise.
        """
        curves, tried = dict[str, Curve](), dict[str, Curve]()
        for name, forward, grid in (
            ("LitServe, padded forward", Forward.PADDED, _PADDED_BATCHING),
            ("LitServe, our forward", Forward.FAST, _FAST_BATCHING),
        ):
            starts = {batching: self._litserve(forward, batching) for batching in grid}
            found = {f"{name}, {batching}": await self._try(start) for batching, start in starts.items()}
            rates = dict(zip(starts, (best(curve).notes_per_second for curve in found.values()), strict=True))
            chosen = max(rates, key=lambda batching: rates[batching])
            tried |= found
            curves[f"{name}, {chosen}"] = await self._measure(name, starts[chosen])
        curves["mlflow models serve"] = await self._measure("mlflow models serve", partial(mlflow_peer, self.bundle))
        fastapi = partial(fastapi_peer, self.bundle, threads=self.threads)
        curves["FastAPI one by one"] = await self._measure("FastAPI one by one", fastapi)
        return curves, tried

    def _litserve(self, forward: Forward, batching: Batching) -> Start:
        return partial(litserve_peer, self.bundle, threads=self.threads, forward=forward, batching=batching)

    async def _try(self, start: Start) -> Curve:
        with start() as peer:
            async with ask_peer(peer) as ask:
                return await measure_curve(ask, self.tuning_texts, levels=[max(self.levels)], tree=peer.tree)

    async def _measure(self, name: str, start: Start) -> Curve:
        with start() as peer:
            async with ask_peer(peer) as ask:
                answers = await answers_of(ask, self.known_texts)
                check_equal(answers, self.known_answers, who=name)
                return await measure_curve(ask, self.texts, levels=self.levels, tree=peer.tree)


def rows_beside(ours: Curve, curves: dict[str, Curve]) -> list[Row]:
    """Our notes a second at the p99 with which a peer gives most, beside what it gives."""
    rows = []
    for name, curve in curves.items():
        top = best(curve)
        reached = throughput_at(ours, top.p99_seconds)
        metric = f"throughput at a p99 of {top.p99_seconds:.2f} s"
        rows.append(Row(metric, reached or 0.0, "notes/s", name, top.notes_per_second))
    return rows
