"""Group commit: writes that wait together become durable together.

A durable commit costs one flush of the disk, and both databases let one writer in at a time where
the audit log is concerned. Eight clients that queue would wait for eight flushes; here whoever
comes first commits for all who wait, each in a savepoint of its own (DeWitt et al. 1984,
doi:10.1145/602259.602261). Writes of one kind can share their statements too, which cost more than
the flush where there are many. It does not know what is written.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ledger.engine import writing

__all__ = ["NotWrittenError", "write", "write_together"]

T = TypeVar("T")
Item = TypeVar("Item")
# A bound on how long the first of a group waits for the last.
MAX_GROUP: Final = 64
# Any constant but that of the migrations, the same in every process.
WRITER_LOCK: Final = 0x6C6F6F70


class NotWrittenError(SQLAlchemyError):
    """The database could not make a write durable: it is full, locked, or gone.

    Nothing of the write is acknowledged. Where the connection broke during the commit it may be
    there all the same, so whoever writes again must be able to tell a repeated write.
    """


class _TransactionLostError(Exception):
    """Work ended the transaction that it shared."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self.failure = failure


class _Job(Generic[T]):
    def __init__(self, work: Callable[[Connection], T]) -> None:
        self._work = work
        self._result: T | None = None
        self.error: Exception | None = None
        self.is_done = False

    def run(self, connection: Connection) -> None:
        """Do the work."""
        try:
            self._result = _in_savepoint(connection, self._work)
        except _TransactionLostError:
            raise
        except Exception as error:
            self.error = error

    def result(self) -> T:
        error, self.error = self.error, None
        if error is None:
            return self._result  # type: ignore[return-value]
        try:
            raise _translate(error)
        finally:
            # The traceback holds this frame: without the cycle, what it refers to ends at once.
            del error


class _SharedJob(_Job[T]):
    """A write that can be done in one go with others of its kind."""

    def __init__(self, work: Callable[[Connection, Sequence[Item]], Sequence[T]], item: Item) -> None:
        super().__init__(lambda connection: work(connection, [item])[0])
        self.kind: Callable[[Connection, Sequence[Any]], Sequence[T]] = work
        self.item = item

    def take(self, result: T) -> None:
        """Believe what was done for it with the others."""
        self._result = result


def _run_together(jobs: Sequence[_SharedJob[Any]], connection: Connection) -> None:
    """Do several writes of one kind in one go; where that fails, each by itself, so that only the faulty one fails."""
    try:
        results = _in_savepoint(connection, lambda inside: jobs[0].kind(inside, [job.item for job in jobs]))
    except _TransactionLostError:
        raise
    except Exception:
        for job in jobs:
            job.run(connection)
        return
    for job, result in zip(jobs, results, strict=True):
        job.take(result)


def _run_all(jobs: Iterable[_Job[Any]], connection: Connection) -> None:
    shared: dict[Callable[..., Any], list[_SharedJob[Any]]] = {}
    for job in jobs:
        if isinstance(job, _SharedJob):
            shared.setdefault(job.kind, []).append(job)
        else:
            job.run(connection)
    for together in shared.values():
        if len(together) == 1:
            together[0].run(connection)
        else:
            _run_together(together, connection)


class _Group:
    """The writes of one engine."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[_Job[Any]] = deque()
        self._taken: list[_Job[Any]] = []
        self._leader: int | None = None

    def write(self, engine: Engine, job: "_Job[T]") -> T:
        if self._leader == threading.get_ident():
            raise RuntimeError("write() was called inside the work of another write(); use its connection instead")
        try:
            with self._changed:
                self._waiting.append(job)
            while not job.is_done:
                if self._may_lead(job):
                    self._commit(engine)
        except BaseException:
            self._withdraw(job)
            raise
        return job.result()

    def _may_lead(self, job: "_Job[Any]") -> bool:
        """Wait until the job is done, or until nobody leads; then take the lead, and those who wait."""
        with self._changed:
            while not job.is_done and self._leader is not None:
                self._changed.wait()
            if job.is_done:
                return False
            self._leader = threading.get_ident()
            while self._waiting and len(self._taken) < MAX_GROUP:
                self._taken.append(self._waiting.popleft())
            return True

    def _commit(self, engine: Engine) -> None:
        try:
            with writing(engine) as connection:
                # SQLite lets one writer in at a time; so do we elsewhere, so that work which looks before it
                # writes is right on both, and two processes cannot lock each other out.
                if engine.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": WRITER_LOCK})
                _run_all(self._taken, connection)
        except Exception as error:
            # Nothing of the group is durable, so nobody in it may believe otherwise.
            failure = error.failure if isinstance(error, _TransactionLostError) else error
            for job in self._taken:
                job.error = job.error or failure
        with self._changed:
            self._end_lead()

    def _end_lead(self) -> None:
        for job in self._taken:
            job.is_done = True
        self._taken = []
        self._leader = None
        self._changed.notify_all()

    def _withdraw(self, job: "_Job[Any]") -> None:
        """Leave after an interrupt, which is for this thread alone, so that the others can go on."""
        with self._changed:
            if self._leader == threading.get_ident():
                for other in self._taken:
                    other.error = NotWrittenError("a write that shared the transaction was interrupted; write it again")
                self._end_lead()
            elif job in self._waiting:
                # Else it would be done later, when nobody expects it any more.
                self._waiting.remove(job)


def _in_savepoint(connection: Connection, work: Callable[[Connection], T]) -> T:
    """Do some work whose failure undoes its own writes alone.

    Raises:
        _TransactionLostError: The transaction did not survive, and with it nobody's writes.
        Exception: What the work raised.
    """
    failure: Exception | None = None
    try:
        with connection.begin_nested():
            try:
                return work(connection)
            except Exception as error:
                failure = error
                raise
    except Exception as error:
        # A full disk makes SQLite end the whole transaction: the savepoint is gone, and what
        # followed would be committed one by one, outside of any transaction of ours.
        if error is not failure or not _is_open(connection):
            raise _TransactionLostError(failure or error) from error
        raise


def _is_open(connection: Connection) -> bool:
    """Tell whether the transaction is still there, and not one that can only be undone."""
    if connection.closed or connection.invalidated:
        return False
    driver = connection.connection.driver_connection
    assert driver is not None
    if connection.dialect.name == "sqlite":
        return bool(driver.in_transaction)
    return bool(driver.info.transaction_status.name == "INTRANS")


def _translate(error: Exception) -> Exception:
    """Tell a failure of the database apart from what the work itself raised."""
    if not isinstance(error, OperationalError):
        return error
    # The driver's name of the error and none of its words, which may repeat what was written.
    name = getattr(error.orig, "sqlite_errorname", type(error.orig).__name__)
    if name == "SQLITE_ERROR":
        # A statement that SQLite cannot run at all, such as one on a table that does not exist.
        return error
    told = NotWrittenError(
        f"the database could not keep what was written ({name}); nothing of it is acknowledged: "
        "see that the database runs and has room, then write it again"
    )
    told.__cause__ = error
    return told


_groups: "WeakKeyDictionary[Engine, _Group]" = WeakKeyDictionary()
_making = threading.Lock()


def write(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run some writes in one durable transaction, and return once they are durable.

    Args:
        engine: A migrated database.
        work: Gets a connection inside the transaction. What it raises undoes its own writes alone.
            It runs once, perhaps in another thread that is writing too, and must not call ``write``.

    Returns:
        What ``work`` returned.

    Raises:
        NotWrittenError: The database is full, locked or gone; nothing is acknowledged.
        RuntimeError: It was called inside the work of another write.
        Exception: What ``work`` raised; nothing of it is written then.
    """
    return _group(engine).write(engine, _Job(work))


def write_together(engine: Engine, work: Callable[[Connection, Sequence[Item]], Sequence[T]], item: Item) -> T:
    """Write like ``write``, and share statements with whoever waits to write by the same function.

    Args:
        engine: A migrated database.
        work: A function of a module, so that it is the same for all who share. Gets a connection inside
            the transaction and what several callers want written, and gives a result for each, in order.
            When it raises, its writes are undone and it is called again for each caller alone.
        item: What this caller wants written.

    Returns:
        The result for the item.

    Raises:
        NotWrittenError: The database is full, locked or gone; nothing is acknowledged.
        RuntimeError: It was called inside the work of another write.
        Exception: What ``work`` raised for the item alone; nothing of it is written then.
    """
    return _group(engine).write(engine, _SharedJob(work, item))


def _group(engine: Engine) -> _Group:
    with _making:
        return _groups.setdefault(engine, _Group())
