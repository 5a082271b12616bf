import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, LargeBinary, Text, bindparam, cast, delete, insert, select, text, update

from ledger import audit_verify
from ledger.audit_log import GENESIS, append, audit_head, audit_log, chain, entries
from ledger.audit_verify import head, verify
from ledger.group_commit import write
from ledger.principals import Principal

NUM_ENTRIES = 6
NUM_ROWS = NUM_ENTRIES + 1  # the admin's own key comes first
TAMPERING = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None, database=None
)
rows_of_the_log = st.integers(1, NUM_ROWS)

Found = list[tuple[int, str]]


@pytest.fixture
def tampered(engine: Engine, append_entries: Any, tamper: Any) -> Callable[..., Found]:
    """Tamper with a log of seven rows, and give what verify finds; the next call has the same seven again."""
    append_entries(NUM_ENTRIES)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(select(audit_log)).mappings()]
        top = dict(connection.execute(select(audit_head)).mappings().one())

    def run(*statements: Any, anchor: tuple[int, str] | None = None) -> Found:
        restore = (
            delete(audit_log),
            insert(audit_log).values(rows),
            delete(audit_head),
            insert(audit_head).values(top),
        )
        tamper("audit_head")
        tamper("audit_log", *restore, *statements)
        verification = verify(engine, anchor=anchor)
        assert verification.num_faults == len(verification.faults)
        assert verification.is_whole == (not verification.faults)
        return [(fault.seq, fault.kind.value) for fault in verification.faults]

    return run


def at(seq: int) -> Any:
    return audit_log.c.seq == seq


def read(engine: Engine, seq: int) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(audit_log).where(at(seq))).one()


def test_a_log_that_was_left_alone_is_whole(engine: Engine, append_entries: Any) -> None:
    append_entries(5)
    told: list[int] = []
    verification = verify(engine, progress=told.append)
    assert (verification.num_rows, verification.head_seq, verification.faults) == (6, 6, ())
    assert (verification.head_seq, verification.head_hash) == head(engine)
    assert told[-1] == 6
    row = read(engine, 6)
    entry = json.loads(row.entry)
    assert (entry["principal"], entry["details"], "naïve" in row.entry) == ("Zoë", {"naïve": 0.1}, True)
    assert row.entry == json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert row.hash == chain(read(engine, 5).hash, row.entry)


def test_an_empty_log_is_whole(engine: Engine) -> None:
    verification = verify(engine, anchor=(0, GENESIS))
    assert (verification.num_rows, verification.is_whole, head(engine)) == (0, True, (0, GENESIS))


@TAMPERING
@given(
    seq=rows_of_the_log, name=st.sampled_from(["entry", "hash", "previous_hash", "action", "subject"]), data=st.data()
)
def test_any_changed_byte_is_found_and_located(
    engine: Engine, tampered: Callable[..., Found], seq: int, name: str, data: st.DataObject
) -> None:
    tampered()
    column = audit_log.c[name]
    was = getattr(read(engine, seq), name)
    if engine.dialect.name == "sqlite":
        content = bytearray(was.encode())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place]))
        value: Any = cast(bindparam("value", bytes(content), LargeBinary), Text)
    else:
        place = data.draw(st.integers(0, len(was) - 1))
        letters = st.characters(exclude_categories=["Cs"], exclude_characters=["\0", was[place]])
        value = was[:place] + data.draw(letters) + was[place + 1 :]
        value = value[:64] if name in ("hash", "previous_hash") else value
    found = tampered(update(audit_log).where(at(seq)).values({column: value}))
    kind = "columns" if name in ("action", "subject") else "changed"
    is_head = name == "hash" and seq == NUM_ROWS
    assert found == [(seq, kind), *([(seq, "head")] if is_head else [])]


@TAMPERING
@given(first=rows_of_the_log, num_removed=st.integers(1, NUM_ROWS))
def test_any_removed_rows_are_found_and_located(tampered: Callable[..., Found], first: int, num_removed: int) -> None:
    last = min(first + num_removed - 1, NUM_ROWS)
    found = tampered(delete(audit_log).where(audit_log.c.seq.between(first, last)))
    assert found == [(first, "head" if last == NUM_ROWS else "removed")]


@TAMPERING
@given(pair=st.lists(rows_of_the_log, min_size=2, max_size=2, unique=True).map(sorted))
def test_any_two_swapped_rows_are_found_and_located(tampered: Callable[..., Found], pair: list[int]) -> None:
    one, other = pair
    moves = [(one, -1), (other, one), (-1, other)]
    found = tampered(*(update(audit_log).where(at(start)).values(seq=end) for start, end in moves))
    ends = [(NUM_ROWS, "head")] if other == NUM_ROWS else []
    assert found == [(one, "moved"), (other, "moved"), *ends]


@TAMPERING
@given(seq=rows_of_the_log)
def test_a_row_rewritten_with_a_hash_of_its_own_breaks_the_next_link(
    engine: Engine, tampered: Callable[..., Found], seq: int
) -> None:
    tampered()
    row = read(engine, seq)
    entry = row.entry.replace("Zoë", "Eve")
    forged = {"entry": entry, "hash": chain(row.previous_hash, entry)}
    found = tampered(update(audit_log).where(at(seq)).values(forged))
    assert found == [(seq, "head") if seq == NUM_ROWS else (seq + 1, "broken")]


def test_only_an_anchor_tells_that_the_whole_chain_was_rewritten(
    engine: Engine, tampered: Callable[..., Found]
) -> None:
    tampered()
    kept = head(engine)
    statements, last = [], GENESIS
    for seq in range(1, NUM_ROWS + 1):
        entry = read(engine, seq).entry.replace("Zoë", "Eve")
        statements.append(
            update(audit_log).where(at(seq)).values(entry=entry, previous_hash=last, hash=chain(last, entry))
        )
        last = chain(last, entry)
    statements.append(update(audit_head).values(hash=last))
    assert tampered(*statements) == []
    assert tampered(*statements, anchor=kept) == [(NUM_ROWS, "anchor")]
    assert tampered(anchor=kept) == []
    assert tampered(anchor=(kept[0] + 1, kept[1])) == [(NUM_ROWS + 1, "anchor")]


def test_a_head_that_was_changed_is_found(tampered: Callable[..., Found]) -> None:
    assert tampered(update(audit_head).values(seq=5)) == [(6, "head")]
    assert tampered(update(audit_head).values(hash="0" * 64)) == [(NUM_ROWS, "head")]
    assert tampered(delete(audit_head)) == [(NUM_ROWS, "head")]
    assert tampered(insert(audit_head).values(id=2, seq=0, hash=GENESIS)) == [(NUM_ROWS, "head")]


def test_all_faults_are_told_and_their_list_is_bounded(
    engine: Engine, tampered: Callable[..., Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = (
        update(audit_log).where(at(2)).values(entry="{}"),
        delete(audit_log).where(at(4)),
        update(audit_log).where(at(6)).values(subject="x"),
    )
    assert tampered(*statements) == [(2, "changed"), (4, "removed"), (6, "columns")]
    monkeypatch.setattr(audit_verify, "MAX_FAULTS", 2)
    verification = verify(engine)
    assert (len(verification.faults), verification.num_faults) == (2, 3)


def test_an_entry_that_is_no_entry_is_a_changed_row(engine: Engine, tampered: Callable[..., Found]) -> None:
    tampered()
    previous = read(engine, 3).previous_hash
    for entry in ("", "[]", "no JSON"):
        forged = update(audit_log).where(at(3)).values(entry=entry, hash=chain(previous, entry))
        assert tampered(forged) == [(3, "changed")]


def test_rows_without_a_number_of_their_own_are_found(tampered: Callable[..., Found], engine: Engine) -> None:
    if engine.dialect.name == "postgresql":
        without_key = text("ALTER TABLE audit_log DROP CONSTRAINT pk_audit_log")
        again = insert(audit_log).from_select(audit_log.c.keys(), select(audit_log).where(at(NUM_ROWS)))
        assert tampered(without_key, again) == [(NUM_ROWS, "moved")]
    else:
        assert tampered(text("UPDATE audit_log SET seq = 'x' WHERE seq = 3")) == [(3, "removed"), (NUM_ROWS, "moved")]


def test_a_log_that_grows_while_it_is_read_is_whole(engine: Engine, append_entries: Any) -> None:
    append_entries(50)
    is_over = threading.Event()

    def go_on() -> None:
        while not is_over.is_set():
            append_entries(1)

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        checks = [verify(engine) for _ in range(20)]
    finally:
        is_over.set()
        writer.join()
    assert all(check.is_whole for check in checks)
    assert checks[-1].num_rows > checks[0].num_rows


def test_entries_are_read_by_subject_and_action_the_newest_first(engine: Engine, append_entries: Any) -> None:
    append_entries(5)
    assert [entry["seq"] for entry in entries(engine, limit=3)] == [6, 5, 4]
    assert [entry["seq"] for entry in entries(engine, subject="thing:2", limit=3)] == [3]
    assert [entry["action"] for entry in entries(engine, action="key-created", limit=3)] == ["key-created"]
    assert entries(engine, subject="thing:2", action="key-created", limit=3) == ()


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800"])
def test_what_has_no_canonical_form_is_refused(engine: Engine, admin: Principal, value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        write(engine, lambda c: append(c, principal=admin, action="tried", subject="x", details={"value": value}))
    assert verify(engine).num_rows == 1
