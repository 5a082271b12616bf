"""What is measured of a running chartloop: its curve, 300-word notes, the gateway's own time, priorities, overload."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from scripts.benchmark_results import Row
from scripts.serving_benchmark.bulk_load import bulk_load
from scripts.serving_benchmark.comparison import measure_curve
from scripts.serving_benchmark.curves import Curve, best
from scripts.serving_benchmark.equality import answers_of, check_equal
from scripts.serving_benchmark.gateway_server import Gateway, ask_gateway, ask_triton
from scripts.serving_benchmark.load import Ask, Codes, Measured, ask_at_random, ask_with_clients, quantile
from scripts.serving_benchmark.overhead import measure_overhead
from scripts.serving_benchmark.overload import Overloaded, summarise, words_per_second
from scripts.serving_benchmark.padding import read_computed

__all__ = ["GatewayMeasures", "Sizes", "measure_gateway", "share_rows", "short_note_rows"]

InProcess = Mapping[tuple[str, int], float]
"""Notes a second of the forward alone, by what lengths and how many notes a batch."""

_IN_PROCESS: Final = "in-process forward, its best batch size"
_OVERLOAD: Final = 3
_INTERACTIVE_SHARE: Final = 0.2
"""Of what can be answered, that people ask for beside bulk work."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    levels: tuple[int, ...]
    """Numbers of clients."""
    overload_seconds: float
    priority_seconds: float
    deadline_seconds: float
    """Of the gateway."""


@dataclass(frozen=True, slots=True)
class GatewayMeasures:
    """What was found."""

    known_answers: Sequence[Codes]
    gateway_curve: Curve
    triton_curve: Curve
    short_notes: dict[int, Measured]
    """Notes of 300 words, by number of clients."""
    overloaded: Overloaded
    rows: list[Row]


async def measure_gateway(
    server: Gateway,
    *,
    bundle: Path,
    number: int,
    known_texts: Sequence[str],
    mixed: Sequence[str],
    short: Sequence[str],
    sizes: Sizes,
) -> GatewayMeasures:
    """Measure a gateway that does nothing else.

    Args:
        server: It.
        bundle: What it serves.
        number: The version's.
        known_texts: Asked of gateway and Triton before anything is measured.
        mixed: Notes of mixed length.
        short: Notes of 300 words.
        sizes: How much is measured.

    Raises:
        ValueError: The gateway does not answer as its Triton does, or a note was not answered.
    """
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(ask_gateway(server))
        triton = await stack.enter_async_context(ask_triton(server, bundle=bundle, number=number))
        known_answers = await answers_of(triton, known_texts)
        check_equal(await answers_of(gateway, known_texts), known_answers, who="the gateway", may_withhold=True)
        before = read_computed(server.triton_metrics_url)
        gateway_curve = await measure_curve(gateway, mixed, levels=sizes.levels, tree=server.tree)
        waste = read_computed(server.triton_metrics_url).waste_since(before)
        triton_curve = await measure_curve(triton, mixed, levels=sizes.levels, tree=server.tree)
        short_notes = {
            clients: await ask_with_clients(gateway, short, num_clients=clients, tree=server.tree) for clients in (1, 8)
        }
        rows = [Row("padding_waste", waste, "share of tokens computed")]
        rows += await _overhead_rows("300 words", gateway, triton, short)
        rows += await _overhead_rows("mixed lengths", gateway, triton, mixed)
        peak = best(gateway_curve)
        rows += await _priority_rows(server, gateway, mixed, peak=peak, seconds=sizes.priority_seconds)
        overloaded, overload_rows = await _overload(gateway, mixed, peak=peak, sizes=sizes)
        return GatewayMeasures(
            known_answers, gateway_curve, triton_curve, short_notes, overloaded, rows + overload_rows
        )


async def _overhead_rows(lengths: str, gateway: Ask, triton: Ask, texts: Sequence[str]) -> list[Row]:
    found = await measure_overhead(gateway, triton, texts, seed=0)
    return [Row(f"gateway_overhead_{name}, {lengths}", 1000 * value, "ms") for name, value in asdict(found).items()]


async def _priority_rows(
    server: Gateway, gateway: Ask, texts: Sequence[str], *, peak: Measured, seconds: float
) -> list[Row]:
    """What people wait for, alone and beside a stream of bulk work that takes all that is left."""
    per_second = _INTERACTIVE_SHARE * peak.notes_per_second
    alone = await ask_at_random(gateway, texts, per_second=per_second, seconds=seconds, seed=1)
    async with bulk_load(server, texts) as bulk:
        beside = await ask_at_random(gateway, texts, per_second=per_second, seconds=seconds, seed=1)
        num_bulk = bulk.num_answered
    rows = [Row("throughput of bulk beside interactive requests", num_bulk / seconds, "notes/s")]
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        value, peer_value = (1000 * quantile([one.seconds for one in sent], share) for sent in (beside, alone))
        rows.append(Row(f"interactive latency {name} beside bulk", value, "ms", "without bulk", peer_value))
    return rows


async def _overload(
    gateway: Ask, texts: Sequence[str], *, peak: Measured, sizes: Sizes
) -> tuple[Overloaded, list[Row]]:
    sent = await ask_at_random(
        gateway, texts, per_second=_OVERLOAD * peak.notes_per_second, seconds=sizes.overload_seconds, seed=2
    )
    found = summarise(sent, deadline_seconds=sizes.deadline_seconds)
    peak_words = words_per_second(peak, num_words=sum(text.count(" ") + 1 for text in texts))
    rows = [
        Row("overload goodput", found.notes_per_second, "notes/s", "peak throughput", peak.notes_per_second),
        Row("overload goodput in words", found.words_per_second, "words/s", "peak throughput", peak_words),
        Row("overload answers after their deadline", found.num_late, "answers"),
        Row("overload requests told that time ran out", found.num_timed_out, "requests"),
        Row("overload requests without an answer or with another one", found.num_other, "requests"),
    ]
    if found.refusal_p50_seconds is not None and found.refusal_p99_seconds is not None:
        rows += [
            Row("overload refusal latency p50", 1000 * found.refusal_p50_seconds, "ms"),
            Row("overload refusal latency p99", 1000 * found.refusal_p99_seconds, "ms"),
        ]
    return found, rows


def short_note_rows(measured: Mapping[int, Measured], rates: InProcess) -> list[Row]:
    """Latency alone and throughput of several clients, for notes of 300 words."""
    alone, shared = measured[1], measured[8]
    in_process = max(rate for (lengths, _), rate in rates.items() if lengths == "300 words")
    return [
        Row("latency_p50_one_client", 1000 * alone.p50_seconds, "ms"),
        Row("latency_p99_one_client", 1000 * alone.p99_seconds, "ms"),
        Row("latency_p50_8_clients", 1000 * shared.p50_seconds, "ms"),
        Row("throughput_8_clients", shared.notes_per_second, "notes/s", _IN_PROCESS, in_process),
        Row("client_cpu_a_note, 300 words", 1000 * shared.client_cpu_seconds / shared.num_notes, "ms"),
        Row("server_cpu_a_note, 300 words", 1000 * shared.server_cpu_seconds / shared.num_notes, "ms"),
    ]


def share_rows(curve: Curve, rates: InProcess) -> list[Row]:
    """Throughput of the gateway beside that of the forward alone, for notes of mixed length."""
    top = best(curve)
    in_process = max(rate for (lengths, _), rate in rates.items() if lengths == "mixed lengths")
    return [
        Row("throughput, mixed lengths", top.notes_per_second, "notes/s", _IN_PROCESS, in_process),
        Row("client_cpu_a_note, mixed lengths", 1000 * top.client_cpu_seconds / top.num_notes, "ms"),
        Row("server_cpu_a_note, mixed lengths", 1000 * top.server_cpu_seconds / top.num_notes, "ms"),
    ]
