from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, select

from feedback.tables import audit_draws, cases
from ledger import retention
from ledger.audit_log import entries
from ledger.audit_verify import verify
from ledger.engine import writing
from ledger.principals import Principal, authenticate, create_key
from ledger.retention import Purge, purge
from ledger.suggestions import StoredSuggestion, load

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def found(engine: Engine, suggestion_id: str) -> StoredSuggestion:
    with engine.connect() as connection:
        return load(connection, suggestion_id)


def open_case(engine: Engine, suggestion_id: str, *, state: str) -> None:
    row = {"id": suggestion_id, "suggestion_id": suggestion_id}
    with writing(engine) as connection:
        connection.execute(insert(audit_draws).values(**row, stratum="accepted", probability=0.1, drawn_at=NOW))
        case = {"kind": "audit", "priority": 1, "opened_at": NOW, "state": state}
        connection.execute(insert(cases).values(**row, **case))


def test_old_content_goes_and_what_it_was_stays(engine: Engine, admin: Principal, store_suggestion: Any) -> None:
    old = store_suggestion("Cough for three days.")
    before = found(engine, old)
    moment = datetime.now(UTC)
    new = store_suggestion("Back pain.")
    assert purge(engine, before=moment, principal=admin) == Purge(num_purged=1, num_kept=0)
    after = found(engine, old)
    assert (after.request, after.suggestion) == (None, None)
    assert (after.content_sha256, after.stored_at, after.route) == (before.content_sha256, before.stored_at, "manual")
    kept = found(engine, new)
    assert kept.request is not None and kept.request.notes[0].text == "Back pain."
    (entry,) = entries(engine, action="contents-purged", limit=10)
    assert (entry["principal"], entry["details"]) == ("Zoë", {"before": moment.isoformat(), "num_purged": 1})
    assert verify(engine).is_whole
    assert purge(engine, before=moment, principal=admin) == Purge(num_purged=0, num_kept=0)


def test_what_a_supervisor_has_yet_to_see_is_kept(engine: Engine, admin: Principal, store_suggestion: Any) -> None:
    waiting, closed = store_suggestion("Cough."), store_suggestion("Fever.")
    open_case(engine, waiting, state="open")
    open_case(engine, closed, state="closed")
    assert purge(engine, before=datetime.now(UTC), principal=admin) == Purge(num_purged=1, num_kept=1)
    assert found(engine, waiting).request is not None and found(engine, closed).request is None


def test_many_are_purged_page_by_page(
    engine: Engine, admin: Principal, store_suggestion: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE_ROWS", 2)
    for number in range(5):
        store_suggestion(f"Note {number}.")
    assert purge(engine, before=datetime.now(UTC), principal=admin) == Purge(num_purged=5, num_kept=0)
    assert [entry["details"]["num_purged"] for entry in entries(engine, action="contents-purged", limit=9)] == [1, 2, 2]


def test_only_an_admin_purges_and_only_the_past(engine: Engine, admin: Principal, store_suggestion: Any) -> None:
    kept = store_suggestion("Cough.")
    supervisor = authenticate(engine, create_key(engine, role="supervisor", name="ada"))
    assert supervisor is not None
    with pytest.raises(ValueError, match="role 'supervisor' may not purge; use the key of an admin"):
        purge(engine, before=datetime.now(UTC), principal=supervisor)
    with pytest.raises(ValueError, match="lies in the future"):
        purge(engine, before=datetime.now(UTC) + timedelta(days=1), principal=admin)
    assert found(engine, kept).request is not None


def test_purged_words_are_gone_from_the_files_of_sqlite(
    engine: Engine, admin: Principal, store_suggestion: Any, tmp_path: Path
) -> None:
    def files() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.glob("chartloop.db*"))

    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL overwrites dead rows when it vacuums")
    # One that spans pages of its own, and one that shares a page.
    for note in ("Zebra-striped rash. " * 1_000, "Zebra-striped rash."):
        store_suggestion(note)
    assert b"Zebra" in files()
    purge(engine, before=datetime.now(UTC), principal=admin)
    assert b"Zebra" not in files()


def test_a_reader_who_keeps_purged_words_in_the_log_of_sqlite_is_told(
    engine: Engine, admin: Principal, store_suggestion: Any, tmp_path: Path
) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL overwrites dead rows when it vacuums")
    store_suggestion("Zebra-striped rash.")
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 100"))
    moment = datetime.now(UTC)
    with engine.connect() as reader:
        reader.execute(select(cases.c.id)).all()
        with pytest.raises(ValueError, match="then purge again"):
            purge(engine, before=moment, principal=admin)
    assert purge(engine, before=moment, principal=admin) == Purge(num_purged=0, num_kept=0)
    assert b"Zebra" not in b"".join(path.read_bytes() for path in tmp_path.glob("chartloop.db*"))
