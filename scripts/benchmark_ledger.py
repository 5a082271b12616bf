"""Measure the ledger: how fast the audit log is verified, and how long a durable write takes with 8 writers.

The same on SQLite and on a PostgreSQL of the benchmark's own. The peer of group commit is what it
saves: each writer commits a transaction of its own. On SQLite the median of that peer is short, as the
writer that just committed comes first again, while others wait for hundreds of milliseconds: see p99.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Final

import typer
from rich.console import Console
from sqlalchemy import Connection, Engine

from ledger.audit_log import Entry, append_all
from ledger.audit_verify import verify
from ledger.engine import writing
from ledger.group_commit import write
from ledger.principals import Principal
from scripts.benchmark_databases import DATABASES, fresh, make_principal
from scripts.benchmark_results import Row, write_results

__all__ = ["main"]

NUM_WRITERS: Final = 8
NUM_REPEATS: Final = 3
FILL_ROWS: Final = 2_000
PEER: Final = "a transaction for each write"

Write = Callable[[Engine, Callable[[Connection], object]], object]


def _alone(engine: Engine, work: Callable[[Connection], object]) -> object:
    with writing(engine) as connection:
        return work(connection)


def _seconds(engine: Engine, principal: Principal, *, write: Write, num_writes: int) -> list[float]:
    """Time each of some writes, an entry of the audit log, by writers that wait for nothing but their writes."""

    def timed(number: int) -> float:
        start = time.perf_counter()
        write(engine, lambda connection: _append(connection, principal, numbers=[number]))
        return time.perf_counter() - start

    with ThreadPoolExecutor(NUM_WRITERS) as pool:
        return list(pool.map(timed, range(num_writes)))


def _append(connection: Connection, principal: Principal, *, numbers: Iterable[int]) -> None:
    details = {"content_sha256": "0" * 64, "bundle_sha256": "0" * 64, "route": "assisted", "num_codes": 4}
    added = [Entry(principal, "suggestion-made", f"suggestion:{number:036}", details) for number in numbers]
    append_all(connection, added)


def _fill(engine: Engine, principal: Principal, *, num_rows: int) -> None:
    for start in range(0, num_rows, FILL_ROWS):
        with writing(engine) as connection:
            _append(connection, principal, numbers=range(start, min(start + FILL_ROWS, num_rows)))


def _verify_speed(engine: Engine) -> float:
    speeds = []
    for _ in range(NUM_REPEATS):
        start = time.perf_counter()
        verification = verify(engine)
        assert verification.is_whole
        speeds.append(verification.num_rows / (time.perf_counter() - start))
    return statistics.median(speeds)


def _measure(engine: Engine, *, num_rows: int, num_writes: int, console: Console) -> Iterator[Row]:
    principal, _ = make_principal(engine, role="service", name="billing")
    yield from _write_rows(engine, principal, num_writes=num_writes)
    with console.status(f"appending {num_rows:,} entries"):
        _fill(engine, principal, num_rows=num_rows)
    with console.status("verifying"):
        yield Row(f"audit_verify_rows_a_second_{engine.dialect.name}", round(_verify_speed(engine)), "1/s")


def _write_rows(engine: Engine, principal: Principal, *, num_writes: int) -> Iterator[Row]:
    name = engine.dialect.name
    speeds, percentiles = [], []
    kinds: tuple[Write, Write] = (write, _alone)
    for kind in kinds:
        _seconds(engine, principal, write=kind, num_writes=NUM_WRITERS)
        start = time.perf_counter()
        taken = _seconds(engine, principal, write=kind, num_writes=num_writes)
        speeds.append(round(num_writes / (time.perf_counter() - start)))
        percentiles.append(statistics.quantiles(taken, n=100))
    yield Row(f"group_commit_writes_a_second_{name}", speeds[0], "1/s", PEER, speeds[1])
    for percentile in (50, 95, 99):
        ours, peer = (round(1000 * found[percentile - 1], 2) for found in percentiles)
        yield Row(f"group_commit_p{percentile}_{name}", ours, "ms", PEER, peer)


def main(
    num_rows: Annotated[int, typer.Option(min=1, help="Entries of the audit log that is verified.")] = 200_000,
    num_writes: Annotated[int, typer.Option(min=100, help="Writes of eight writers, of each kind.")] = 2_000,
    beside: Annotated[
        str, typer.Option("--beside", help="What else ran on the machine; told in the file.")
    ] = "nothing",
) -> None:
    """Measure the ledger on SQLite and PostgreSQL and write docs/benchmarks/ledger.json."""
    console = Console()
    rows = []
    for name in DATABASES:
        with fresh(name) as engine:
            for row in _measure(engine, num_rows=num_rows, num_writes=num_writes, console=console):
                peer = "" if row.peer_value is None else f" ({row.peer}: {row.peer_value})"
                console.print(f"{row.metric}: {row.value} {row.unit}{peer}")
                rows.append(row)
    facts = {"num_rows": num_rows, "num_writes": num_writes, "num_writers": NUM_WRITERS, "beside": beside}
    console.print(f"written to {write_results('ledger', rows, **facts)}")


if __name__ == "__main__":
    typer.run(main)
