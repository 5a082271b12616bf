"""Group commit: writes that wait together become durable together.

A durable commit costs one flush of the disk, and both databases let one writer in at a time where
the audit log is concerned. Eight clients that queue would wait for eight flushes; here whoever
comes first commits for all who wait, each in a savepoint of its own (DeWitt et al. 1984,
doi:10.1145/602259.602261). It does not know what is written.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, text

from ledger.engine import writing

__all__ = ["write"]

T = TypeVar("T")
# A bound on how long the first of a group waits for the last.
MAX_GROUP: Final = 64
# Any constant but that of the migrations, the same in every process.
WRITER_LOCK: Final = 0x6C6F6F70


class _Job(Generic[T]):
    def __init__(self, work: Callable[[Connection], T]) -> None:
        self._work = work
        self._result: T | None = None
        self.error: BaseException | None = None
        self.is_done = False

    def run(self, connection: Connection) -> None:
        try:
            with connection.begin_nested():
                self._result = self._work(connection)
        except Exception as error:
            if connection.invalidated or connection.closed:
                raise
            self.error = error

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return self._result  # type: ignore[return-value]


class _Group:
    """The writes of one engine."""

    def __init__(self) -> None:
        self._waiting: deque[_Job[object]] = deque()
        self._leading = threading.Lock()

    def write(self, engine: Engine, job: "_Job[T]") -> T:
        self._waiting.append(job)  # type: ignore[arg-type]
        while not job.is_done:
            with self._leading:
                if not job.is_done:
                    self._commit(engine)
        return job.result()

    def _commit(self, engine: Engine) -> None:
        jobs = [self._waiting.popleft() for _ in range(min(MAX_GROUP, len(self._waiting)))]
        try:
            with writing(engine) as connection:
                # SQLite lets one writer in at a time; so do we elsewhere, so that work which looks before it
                # writes is right on both, and two processes cannot lock each other out.
                if engine.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": WRITER_LOCK})
                for job in jobs:
                    job.run(connection)
        except BaseException as error:
            # Nothing of the group is durable, so nobody in it may believe otherwise.
            for job in jobs:
                job.error = error
        finally:
            for job in jobs:
                job.is_done = True


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
        Exception: What ``work`` raised, or what the database raised at commit; nothing is written then.
    """
    with _making:
        group = _groups.setdefault(engine, _Group())
    return group.write(engine, _Job(work))
