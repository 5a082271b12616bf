"""Half an hour of steady load on chartloop: does anything grow?

Serves a version, measures what it can answer, then asks for six tenths of that with notes of mixed length, and reads
memory, open files and shared memory as it goes. Writes docs/benchmarks/soak.json.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from scripts.benchmark_results import Row, write_results
from scripts.options import DEFAULT_DATA_DIR, DataDir
from scripts.serving_benchmark.gateway_server import Gateway, ask_gateway, gateway
from scripts.serving_benchmark.load import Sent, ask_at_random, ask_with_clients, quantile
from scripts.serving_benchmark.memory import TOTAL, Sample, growth, take_sample
from scripts.serving_benchmark.note_texts import mixed_lengths, texts_of
from scripts.serving_benchmark.processes import end_servers_with_us

__all__ = ["rows_of", "run"]

_SHARE_OF_CAPACITY = 0.6
_CLIENTS = 8
_SETTLED_AFTER_SECONDS = 300.0
"""Caches fill, and allocators find their size."""
_OK = 200


async def soak(server: Gateway, *, minutes: float, every_seconds: float) -> tuple[float, list[Sample], list[Sent]]:
    """Load a gateway; gives what it could answer a second, the readings, and every request."""
    texts = texts_of(mixed_lengths(500, seed=5), seed=5)
    samples = list[Sample]()

    async def watch(began: float) -> None:
        while True:
            samples.append(await asyncio.to_thread(take_sample, server.tree, began=began))
            await asyncio.sleep(every_seconds)

    async with ask_gateway(server) as ask:
        await ask_with_clients(ask, texts[:_CLIENTS], num_clients=_CLIENTS, tree=server.tree)
        capacity = await ask_with_clients(ask, texts[:48], num_clients=_CLIENTS, tree=server.tree)
        watching = asyncio.create_task(watch(time.monotonic()))
        try:
            rate = _SHARE_OF_CAPACITY * capacity.notes_per_second
            sent = await ask_at_random(ask, texts, per_second=rate, seconds=60 * minutes, seed=6)
        finally:
            watching.cancel()
    return capacity.notes_per_second, samples, sent


def rows_of(samples: Sequence[Sample], sent: Sequence[Sent], *, settled_after_seconds: float) -> list[Row]:
    """What grew, and what was answered.

    Args:
        samples: By time.
        sent: Every request.
        settled_after_seconds: From when growth counts.
    """
    settled = [sample for sample in samples if sample.at_seconds >= settled_after_seconds]
    rows = []
    for role in settled[0].memory_bytes:
        memory = [float(sample.memory_bytes.get(role, 0)) for sample in samples]
        gained = growth(samples, memory, settled_after_seconds=settled_after_seconds)
        first = settled[0].memory_bytes[role]
        rows.append(Row(f"memory of {role}", first / 1e6, "MB"))
        rows.append(Row(f"growth of memory of {role}", gained / first, "share"))
    files = [float(sample.num_files[TOTAL]) for sample in samples]
    shared = [float(sample.shared_memory_bytes) for sample in samples]
    answered = [one for one in sent if one.status == _OK]
    return [
        *rows,
        Row("growth of open files", growth(samples, files, settled_after_seconds=settled_after_seconds), "files"),
        Row("growth of /dev/shm", growth(samples, shared, settled_after_seconds=settled_after_seconds) / 1e6, "MB"),
        Row("requests", len(sent), "requests"),
        Row("requests that were not answered", len(sent) - len(answered), "requests"),
        Row("answers of the standby worker", sum(one.degraded for one in answered), "answers"),
        Row("latency p99", 1000 * quantile([one.seconds for one in answered], 0.99), "ms"),
    ]


def run(
    version: Annotated[str, typer.Option(help="The version to serve.")] = "candidate",
    minutes: Annotated[float, typer.Option(help="How long the load lasts; the first 5 do not count.")] = 30.0,
    every_seconds: Annotated[float, typer.Option(help="Between two readings.")] = 10.0,
    json: Annotated[Path | None, typer.Option(help="Results file in place of docs/benchmarks/soak.json.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Load, read, and write the results."""
    end_servers_with_us()
    # A short run, to see that it works, has no five minutes to leave out.
    settled_after_seconds = min(_SETTLED_AFTER_SECONDS, 60 * minutes / 4)
    with gateway(version, data_dir=data_dir) as server:
        capacity, samples, sent = asyncio.run(soak(server, minutes=minutes, every_seconds=every_seconds))
    told = write_results(
        json or "soak",
        rows_of(samples, sent, settled_after_seconds=settled_after_seconds),
        minutes=minutes,
        settled_after_seconds=settled_after_seconds,
        notes_per_second={"capacity": capacity, "asked": _SHARE_OF_CAPACITY * capacity},
        statuses=Counter(one.status for one in sent),
        samples=[asdict(sample) for sample in samples],
    )
    typer.echo(told)


if __name__ == "__main__":
    typer.run(run)
