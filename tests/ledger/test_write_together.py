import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine, func, insert, select

from ledger.audit_log import Entry, append_all, audit_log, entries
from ledger.audit_verify import verify
from ledger.group_commit import write, write_together
from ledger.principals import Principal, principals

calls: list[list[str]] = []


def note(connection: Connection, items: Sequence[tuple[Principal, str]]) -> list[str]:
    """Append an entry for each item; ``bad`` is refused, and by the database too."""
    calls.append([name for _, name in items])
    append_all(connection, [Entry(who, "tried", name, {}) for who, name in items])
    if any(name == "bad" for _, name in items):
        connection.execute(insert(principals).values(id="x"))
    return [name.upper() for _, name in items]


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def ask_at_once(engine: Engine, admin: Principal, *names: str) -> list[str]:
    """Let all wait behind one transaction that is held open."""
    is_held, may_go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        is_held.set()
        assert may_go.wait(60)

    def ask(name: str) -> str:
        try:
            return write_together(engine, note, (admin, name))
        except Exception as error:
            return type(error).__name__

    with ThreadPoolExecutor(len(names) + 1) as pool:
        holder = pool.submit(write, engine, hold)
        assert is_held.wait(60)
        asked = [pool.submit(ask, name) for name in names]
        # Those who are not waiting yet when the holder ends form a group of their own, which is right too.
        may_go.set()
        holder.result(60)
        return [future.result(60) for future in asked]


def test_everybody_has_their_own_result_and_the_chain_is_whole(engine: Engine, admin: Principal) -> None:
    names = [f"n{number}" for number in range(20)]
    assert ask_at_once(engine, admin, *names) == [name.upper() for name in names]
    assert sorted(name for call in calls for name in call) == sorted(names)
    assert verify(engine).faults == ()


def test_one_that_fails_fails_alone(engine: Engine, admin: Principal) -> None:
    names = ["a", "bad", "b", "c"]
    assert ask_at_once(engine, admin, *names) == ["A", "IntegrityError", "B", "C"]
    assert {entry["subject"] for entry in entries(engine, action="tried", limit=10)} == {"a", "b", "c"}
    assert verify(engine).faults == ()


def test_what_waits_together_is_done_in_one_go(engine: Engine, admin: Principal) -> None:
    started = threading.Barrier(3)

    def ask(name: str) -> str:
        started.wait(60)
        return write_together(engine, note, (admin, name))

    with ThreadPoolExecutor(2) as pool:
        for _ in range(200):
            calls.clear()
            asked = [pool.submit(ask, name) for name in ("a", "b")]

            def hold(_: Connection) -> None:
                started.wait(60)

            write(engine, hold)
            assert [future.result(60) for future in asked] == ["A", "B"]
            if len(calls) == 1:
                break
    assert sorted(calls[0]) == ["a", "b"]


def test_many_entries_cost_one_look_at_the_head(engine: Engine, admin: Principal) -> None:
    last = write(engine, lambda c: append_all(c, [Entry(admin, "tried", f"s{n}", {"n": n}) for n in range(50)]))
    with engine.connect() as connection:
        assert connection.execute(select(func.max(audit_log.c.seq))).scalar_one() == last
    assert [entry["details"]["n"] for entry in entries(engine, action="tried", limit=50)] == list(range(49, -1, -1))
    assert verify(engine).faults == ()
