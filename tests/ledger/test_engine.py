import importlib
import re
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import StatementError

from ledger.engine import UtcDateTime, default_url, ledger, metadata, migrate, open_engine, writing
from ledger.principals import create_key, list_principals, principals


def test_migrations_make_exactly_the_declared_tables(engine: Engine) -> None:
    # Each table is declared beside the code that fills it.
    for module in (
        "ledger.principals",
        "ledger.federation",
        "ledger.suggestions",
        "ledger.requests",
        "feedback.tables",
        "feedback.query_tables",
        "governance.tables",
    ):
        importlib.import_module(module)
    assert {"principals", "audit_log", "suggestions", "decisions", "promotions"} <= metadata.tables.keys()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    create_key(engine, role="coder", name="ada")
    migrate(engine)
    assert [principal.name for principal in list_principals(engine)] == ["ada"]


def test_processes_that_migrate_at_once_all_succeed(empty_database_url: str) -> None:
    program = "import sys; from ledger.engine import *; migrate(open_engine(sys.argv[1]))"
    processes = [subprocess.Popen([sys.executable, "-c", program, empty_database_url]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]


def test_sqlite_is_durable_and_private(tmp_path: Path) -> None:
    engine = open_engine(default_url(tmp_path / "new"))
    migrate(engine)
    with engine.connect() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    assert stat.S_IMODE((tmp_path / "new" / "chartloop.db").stat().st_mode) == 0o600


def test_writers_that_read_first_wait_for_each_other(engine: Engine) -> None:
    def add(number: int) -> None:
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("LOCK TABLE principals"))
            taken = len(connection.execute(select(principals.c.id)).all())
            row = {"id": f"{taken}", "name": f"n{taken}", "role": "coder"}
            connection.execute(principals.insert().values(**row, created_at=datetime.now(UTC)))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {principal.id for principal in list_principals(engine)} == {str(number) for number in range(8)}


@pytest.mark.parametrize("url", ["mysql://h/d", "sqlite://", "sqlite:///:memory:", "not a url"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected sqlite:///PATH or postgresql://"):
        open_engine(url)


def test_naive_moments_are_refused(engine: Engine) -> None:
    statement = select(principals).where(principals.c.created_at == datetime(2026, 1, 1))
    with engine.connect() as connection, pytest.raises(StatementError, match="time zone"):
        connection.execute(statement)
    assert UtcDateTime().process_bind_param(None, engine.dialect) is None


def test_an_unreachable_database_is_named_without_its_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg://ada:geheim@127.0.0.1:1/ledger?sslpassword=geheim"
    with pytest.raises(ValueError, match=r"database postgresql\+psycopg://127\.0\.0\.1:1/ledger cannot be") as caught:
        with ledger(tmp_path, url=url):
            raise AssertionError("there is no database")
    assert not {"geheim", "ada"} & set(re.split(r"\W+", str(caught.value))) and caught.value.__suppress_context__


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "chartloop.db"
    path.write_text("no database\n" * 100)
    with pytest.raises(ValueError, match="cannot be opened"), ledger(tmp_path):
        pass
