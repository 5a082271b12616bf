"""Group commit: writes that wait together become durable together.

A durable commit costs one flush of the disk, and both databases let one writer in at a time where
the audit log is concerned. Eight clients that queue would wait for eight flushes; here whoever
comes first commits for all who wait, those of different kinds each in a savepoint (DeWitt et al. 1984,
doi:10.1145/602259.602261). Writes of one kind can share their statements too, which cost more than
the flush where there are many. It does not know what is written.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, text

from ledger.engine import writing
from ledger.shared_writes import (
    Job,
    NotWrittenError,
    SharedJob,
    TransactionLostError,
    can_do_in_one_go,
    run_all,
    run_without_savepoint,
)

__all__ = ["NotWrittenError", "write", "write_together"]

T = TypeVar("T")
Item = TypeVar("Item")
# A bound on how long the first of a group waits for the last.
MAX_GROUP: Final = 64
# Any constant but that of the migrations, the same in every process.
WRITER_LOCK: Final = 0x6C6F6F70
_LOCK: Final = text("SELECT pg_advisory_xact_lock(:lock)")


class _Group:
    """The writes of one engine."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Job[Any]] = deque()
        self._taken: list[Job[Any]] = []
        self._leader: int | None = None

    def write(self, engine: Engine, job: "Job[T]") -> T:
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

    def _may_lead(self, job: "Job[Any]") -> bool:
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
            self._write(engine)
        except Exception as error:
            # Nothing of the group is durable, so nobody in it may believe otherwise.
            failure = error.failure if isinstance(error, TransactionLostError) else error
            for job in self._taken:
                job.error = job.error or failure
        with self._changed:
            self._end_lead()

    def _write(self, engine: Engine) -> None:
        jobs = self._taken
        if not can_do_in_one_go(jobs):
            with _transaction(engine) as connection:
                run_all(jobs, connection)
            return
        try:
            with _transaction(engine) as connection:
                run_without_savepoint(jobs, connection)
        except TransactionLostError:
            if len(jobs) == 1:
                raise
            # The work failed, before anything was committed: each by itself, so that only the faulty one fails.
            with _transaction(engine) as connection:
                for job in jobs:
                    job.run(connection)

    def _end_lead(self) -> None:
        for job in self._taken:
            job.is_done = True
        self._taken = []
        self._leader = None
        self._changed.notify_all()

    def _withdraw(self, job: "Job[Any]") -> None:
        """Leave after an interrupt, which is for this thread alone, so that the others can go on."""
        with self._changed:
            if self._leader == threading.get_ident():
                for other in self._taken:
                    other.error = NotWrittenError("a write that shared the transaction was interrupted; write it again")
                self._end_lead()
            elif job in self._waiting:
                # Else it would be done later, when nobody expects it any more.
                self._waiting.remove(job)


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    with writing(engine) as connection:
        # SQLite lets one writer in at a time; so do we elsewhere, so that work which looks before it
        # writes is right on both, and two processes cannot lock each other out.
        if engine.dialect.name == "postgresql":
            connection.execute(_LOCK, {"lock": WRITER_LOCK})
        yield connection


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
    return _group(engine).write(engine, Job(work))


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
    return _group(engine).write(engine, SharedJob(work, item))


def _group(engine: Engine) -> _Group:
    with _making:
        return _groups.setdefault(engine, _Group())
