"""The database: how it is opened, and the one Alembic history that shapes it.

SQLite by default, PostgreSQL by URL; every table of the product lives here, whichever package
fills it. This module knows no table of its own beyond the metadata that they register in.
"""

import os
import select
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, DateTime, Dialect, Engine, MetaData, TypeDecorator, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InvalidatePoolError, OperationalError

from clinical_coding.data_directory import DataDirectory

__all__ = ["UtcDateTime", "default_url", "ledger", "metadata", "migrate", "open_engine", "writing"]

BUSY_TIMEOUT_SECONDS: Final = 30
# Any constant will do, as long as every process that migrates takes the same one.
MIGRATION_LOCK: Final = 0x63686172

# Named constraints, so that a later migration can drop or alter them on either database.
metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no time zone, so naive values read back are UTC by construction."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store in UTC; a naive value would be a guess, and is refused."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored moment must carry its time zone; use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read back as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def default_url(data_dir: Path) -> str:
    """Name the database of a data directory: ``<data_dir>/chartloop.db``."""
    return f"sqlite:///{DataDirectory(data_dir).database}"


def open_engine(url: str) -> Engine:
    """Open a database.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://…``.

    Returns:
        An engine whose commits are durable once they return. Call ``migrate`` before its first use.

    Raises:
        ValueError: The URL is of another database, or is none.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("database URL is malformed; expected sqlite:///PATH or postgresql://…") from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        engine = create_engine(parsed, hide_parameters=True)
        event.listen(engine, "connect", _prepare_postgresql)
        event.listen(engine, "checkout", _refuse_dead)
        return engine
    if backend != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ValueError(f"database URL names {backend!r}; expected sqlite:///PATH or postgresql://…")
    path = Path(parsed.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Notes will live here. The write-ahead log takes its permissions from the database file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    # Parameters hold notes, and errors reach logs.
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver's own transaction control leaves DDL outside of transactions; ours does not.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    # With WAL, NORMAL may lose the last commits at a power cut; FULL does not.
    connection.execute("PRAGMA synchronous = FULL")
    # What is deleted is clinical text, and must not stay legible in the file.
    connection.execute("PRAGMA secure_delete = ON")


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    # A server or a role may be set to acknowledge commits before they are on disk. Stricter settings,
    # which wait for a replica too, are left as they are.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.commit()


def _refuse_dead(connection: Any, _record: Any, _proxy: Any) -> None:
    # What has been idle is owed nothing: where there is something to read, the server has said goodbye, or
    # has died. Asking it instead would cost a round trip for every use.
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise InvalidatePoolError


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes, and commit it when the block ends well.

    On SQLite the write lock is taken at the start: a transaction that reads first and writes
    later would fail at once, without waiting, when another one wrote in between.
    """
    with engine.execution_options(writes=True).begin() as connection:
        yield connection


@contextmanager
def ledger(data_dir: Path, *, url: str | None = None) -> Iterator[Engine]:
    """Open the database of a data directory, brought to the newest schema, and close it afterwards.

    Args:
        data_dir: The data directory.
        url: Another database in its place: PostgreSQL, or SQLite elsewhere.

    Raises:
        ValueError: The URL is not of a known database, or the database cannot be reached.
    """
    engine = open_engine(url or default_url(data_dir))
    try:
        try:
            migrate(engine)
        except (OperationalError, sqlite3.DatabaseError):
            # The address alone: the user, the password and the driver's own words stay unsaid.
            address = URL.create(
                engine.url.drivername, host=engine.url.host, port=engine.url.port, database=engine.url.database
            )
            raise ValueError(
                f"database {address} cannot be opened; check that it runs, and the address, user and password"
            ) from None
        yield engine
    finally:
        engine.dispose()


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema. Safe to call from several processes at once."""
    if engine.dialect.name == "sqlite":
        _switch_to_wal(engine)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _switch_to_wal(engine: Engine) -> None:
    # The mode is a property of the file, and changing it needs the file alone: SQLite then answers
    # "locked" at once, without its busy timeout, so the wait is ours.
    give_up_at = time.monotonic() + BUSY_TIMEOUT_SECONDS
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        while True:
            try:
                cursor.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.05)
    finally:
        connection.close()
