import gc
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import IntegrityError, OperationalError

from ledger import group_commit
from ledger.audit_log import append, entries
from ledger.audit_verify import verify
from ledger.engine import migrate, open_engine
from ledger.group_commit import NotWrittenError, write
from ledger.principals import Principal, create_key

WRITER = """
import sys
from ledger.audit_log import append
from ledger.engine import open_engine
from ledger.group_commit import write
from ledger.principals import authenticate
engine = open_engine(sys.argv[1])
admin = authenticate(engine, sys.argv[2])
for number in range(50):
    write(engine, lambda c: append(c, principal=admin, action="tried", subject=f"{sys.argv[3]}:{number}", details={}))
"""


@pytest.fixture
def say(admin: Principal) -> Callable[[str], Callable[[Connection], str]]:
    """The work of appending one entry; gives its subject back."""

    def make(subject: str) -> Callable[[Connection], str]:
        def work(connection: Connection) -> str:
            append(connection, principal=admin, action="tried", subject=subject, details={})
            return subject

        return work

    return make


@pytest.fixture
def together(engine: Engine) -> Callable[..., list[Any]]:
    """Write works that all wait while a first transaction is held open, so that they share one; gives the outcomes."""

    def run(*works: Callable[[Connection], Any]) -> list[Any]:
        is_held, may_go = threading.Event(), threading.Event()

        def hold(_: Connection) -> None:
            is_held.set()
            assert may_go.wait(30)

        def outcome(work: Callable[[Connection], Any]) -> Any:
            try:
                return write(engine, work)
            except Exception as error:
                return error

        with ThreadPoolExecutor(len(works) + 1) as pool:
            holder = pool.submit(write, engine, hold)
            assert is_held.wait(30)
            written = [pool.submit(outcome, work) for work in works]
            while len(waiting(engine)) < len(works):
                pass
            may_go.set()
            holder.result()
            return [future.result() for future in written]

    return run


def waiting(engine: Engine) -> Any:
    return group_commit._groups[engine]._waiting


def subjects(engine: Engine) -> list[str]:
    return [entry["subject"] for entry in reversed(entries(engine, action="tried", limit=10_000))]


def test_each_of_many_threads_gets_its_own_result(engine: Engine, say: Any) -> None:
    names = [f"t{thread}:{number}" for thread in range(16) for number in range(20)]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda name: write(engine, say(name)), names)) == names
    assert sorted(subjects(engine)) == sorted(names)
    assert verify(engine).is_whole


def test_who_waits_together_is_committed_together_in_order(engine: Engine, say: Any, together: Any) -> None:
    commits: list[int] = []
    event.listen(engine, "commit", lambda connection: commits.append(1))
    assert together(say("a"), say("b"), say("c")) == ["a", "b", "c"]
    assert sorted(subjects(engine)) == ["a", "b", "c"]
    assert len(commits) == 2


def test_an_exception_undoes_the_writes_of_its_work_alone(engine: Engine, say: Any, together: Any) -> None:
    def fail(connection: Connection) -> None:
        say("lost")(connection)
        raise KeyError("mine")

    def clash(connection: Connection) -> None:
        say("lost too")(connection)
        connection.execute(text("INSERT INTO principals SELECT * FROM principals"))

    first, failed, clashed, last = together(say("a"), fail, clash, say("b"))
    assert (first, last) == ("a", "b")
    assert isinstance(failed, KeyError) and failed.args == ("mine",)
    assert isinstance(clashed, IntegrityError)
    assert sorted(subjects(engine)) == ["a", "b"]
    assert verify(engine).is_whole


def test_a_commit_that_fails_fails_for_all_and_leaves_nothing(engine: Engine, say: Any, together: Any) -> None:
    def fail(connection: Connection) -> None:
        raise KeyError("mine")

    def refuse(connection: Connection) -> None:
        if subjects_of_transaction(connection):
            raise OSError("no commit today")

    def subjects_of_transaction(connection: Connection) -> int:
        return int(connection.execute(text("SELECT count(*) FROM audit_log WHERE action = 'tried'")).scalar_one())

    event.listen(engine, "commit", refuse)
    outcomes = together(say("a"), fail, say("b"))
    event.remove(engine, "commit", refuse)
    assert [type(outcome) for outcome in outcomes] == [OSError, KeyError, OSError]
    assert subjects(engine) == []
    assert write(engine, say("c")) == "c"
    assert subjects(engine) == ["c"] and verify(engine).is_whole


def test_a_work_that_ends_the_transaction_is_not_taken_for_written(engine: Engine, say: Any, together: Any) -> None:
    def end(connection: Connection) -> None:
        # As SQLite does by itself when the disk is full.
        connection.exec_driver_sql("ROLLBACK")

    outcomes = together(say("a"), end, say("b"))
    assert all(isinstance(outcome, Exception) for outcome in outcomes)
    assert subjects(engine) == []
    assert write(engine, say("c")) == "c"


def test_a_work_that_hides_a_failed_statement_is_not_taken_for_written(engine: Engine, say: Any, together: Any) -> None:
    def hide(connection: Connection) -> str:
        say("hidden")(connection)
        try:
            connection.execute(text("SELECT 1 FROM no_such_table"))
        except Exception:
            return "hidden"
        raise AssertionError("there is no such table")

    outcomes = together(say("a"), hide)
    # PostgreSQL gives the transaction up; SQLite goes on after the statement.
    written = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert sorted(subjects(engine)) == sorted(written) == (["a", "hidden"] if engine.dialect.name == "sqlite" else [])


def test_a_write_inside_a_write_is_refused(engine: Engine, say: Any) -> None:
    with pytest.raises(RuntimeError, match="inside the work of another write"):
        write(engine, lambda connection: write(engine, say("inner")))
    assert write(engine, say("a")) == "a"
    assert subjects(engine) == ["a"]


def test_more_writes_than_a_group_holds_are_all_written(
    engine: Engine, say: Any, together: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_GROUP", 2)
    names = [f"n{number}" for number in range(7)]
    assert together(*map(say, names)) == names
    assert sorted(subjects(engine)) == names


def test_an_interrupt_in_the_leader_is_for_its_thread_alone(engine: Engine, say: Any) -> None:
    def interrupt(connection: Connection) -> None:
        say("lost")(connection)
        other = pool.submit(write, engine, say("other"))
        while not waiting(engine):
            pass
        futures.append(other)
        raise KeyboardInterrupt

    futures: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(KeyboardInterrupt):
            write(engine, interrupt)
        assert futures[0].result(30) == "other"
    assert subjects(engine) == ["other"]


def test_an_interrupt_tells_those_who_shared_the_transaction(engine: Engine, say: Any, together: Any) -> None:
    def interrupt(connection: Connection) -> None:
        raise KeyboardInterrupt

    def outcome(work: Callable[[Connection], Any]) -> None:
        try:
            outcomes.append(write(engine, work))
        except BaseException as error:
            outcomes.append(type(error))

    outcomes: list[Any] = []
    is_held, may_go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        is_held.set()
        assert may_go.wait(30)

    threads = [threading.Thread(target=outcome, args=(work,)) for work in (hold, interrupt, say("a"))]
    threads[0].start()
    assert is_held.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(waiting(engine)) < 2:
        pass
    may_go.set()
    for thread in threads:
        thread.join(30)
    # Either may have led; who led is interrupted, as a signal would, and the other is told.
    assert sorted(map(str, outcomes)) == sorted(map(str, [None, KeyboardInterrupt, NotWrittenError]))
    assert subjects(engine) == []
    assert write(engine, say("b")) == "b"


def test_a_write_whose_caller_is_interrupted_while_it_waits_is_not_done_later(
    engine: Engine, say: Any, request: pytest.FixtureRequest
) -> None:
    is_held, may_go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        is_held.set()
        assert may_go.wait(30)

    def interrupt_when_waiting() -> None:
        while not waiting(engine):
            pass
        # Again and again: a signal that comes just before the wait begins does not end it.
        while not is_interrupted.wait(0.1):
            signal.pthread_kill(main_thread, signal.SIGINT)

    def handle(*_: object) -> None:
        if not is_interrupted.is_set():
            is_interrupted.set()
            raise KeyboardInterrupt

    is_interrupted, main_thread = threading.Event(), threading.get_ident()
    # A shell that starts the tests in the background has them ignore the signal.
    before = signal.signal(signal.SIGINT, handle)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with ThreadPoolExecutor(2) as pool:
        holder = pool.submit(write, engine, hold)
        assert is_held.wait(30)
        pool.submit(interrupt_when_waiting)
        with pytest.raises(KeyboardInterrupt):
            write(engine, say("interrupted"))
        may_go.set()
        holder.result(30)
    assert write(engine, say("a")) == "a"
    assert subjects(engine) == ["a"]


def test_two_processes_that_write_at_once_keep_the_chain_whole(
    engine: Engine, empty_database_url: str, say: Any
) -> None:
    key = create_key(engine, role="service", name="billing")
    url = engine.url.render_as_string(hide_password=False)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, key, name]) for name in ("p", "q")]
    for number in range(20):
        write(engine, say(f"here:{number}"))
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    verification = verify(engine)
    assert verification.is_whole
    assert len(set(subjects(engine))) == len(subjects(engine)) == 120


def test_an_unreachable_database_is_a_write_that_was_not_made() -> None:
    engine = open_engine("postgresql://127.0.0.1:1/nothing")
    try:
        with pytest.raises(NotWrittenError, match="see that the database runs") as caught:
            write(engine, lambda connection: None)
    finally:
        engine.dispose()
    assert isinstance(caught.value.__cause__, OperationalError)


def test_an_error_of_the_database_does_not_repeat_what_was_written(engine: Engine, admin: Principal) -> None:
    statement = text("INSERT INTO suggestion_contents VALUES (:id, :request, :request)")
    with pytest.raises(IntegrityError) as caught:
        write(engine, lambda connection: connection.execute(statement, {"id": "x", "request": "Chest pain."}))
    assert "Chest" not in str(caught.value)


def test_writes_do_not_keep_an_engine_alive(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'a.db'}")
    migrate(engine)
    assert write(engine, lambda connection: 1) == 1
    engine.dispose()
    kept = weakref.ref(engine)
    del engine
    gc.collect()
    assert kept() is None


def test_a_write_that_ended_its_transaction_is_not_acknowledged(engine: Engine) -> None:
    def work(connection: Connection) -> str:
        connection.exec_driver_sql("ROLLBACK")
        return "done"

    with pytest.raises(NotWrittenError, match="nothing of it is acknowledged"):
        write(engine, work)
