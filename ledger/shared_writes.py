"""The writes that share a transaction: how each is done, and what a failure of one means for the others.

It does not know who waits for them, nor who commits.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError, SQLAlchemyError

__all__ = [
    "Job",
    "NotWrittenError",
    "SharedJob",
    "TransactionLostError",
    "can_do_in_one_go",
    "run_all",
    "run_without_savepoint",
]

T = TypeVar("T")
Item = TypeVar("Item")


class NotWrittenError(SQLAlchemyError):
    """The database could not make a write durable: it is full, locked, or gone.

    Nothing of the write is acknowledged. Where the connection broke during the commit it may be
    there all the same, so whoever writes again must be able to tell a repeated write.
    """


class TransactionLostError(Exception):
    """Work ended the transaction that it shared."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self.failure = failure


class Job(Generic[T]):
    """A write of one caller."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self._result: T | None = None
        self.error: Exception | None = None
        self.is_done = False

    def run(self, connection: Connection) -> None:
        """Do the work."""
        try:
            self._result = _in_savepoint(connection, self.work)
        except TransactionLostError:
            raise
        except Exception as error:
            self.error = error

    def take(self, result: T) -> None:
        """Believe what was done for it elsewhere."""
        self._result = result

    def result(self) -> T:
        """What the work returned, or what it raised, raised again."""
        error, self.error = self.error, None
        if error is None:
            return self._result  # type: ignore[return-value]
        try:
            raise _translate(error)
        finally:
            # The traceback holds this frame: without the cycle, what it refers to ends at once.
            del error


class SharedJob(Job[T]):
    """A write that can be done in one go with others of its kind."""

    def __init__(self, work: Callable[[Connection, Sequence[Item]], Sequence[T]], item: Item) -> None:
        super().__init__(lambda connection: work(connection, [item])[0])
        self.kind: Callable[[Connection, Sequence[Any]], Sequence[T]] = work
        self.item = item


def run_without_savepoint(jobs: Sequence[Job[Any]], connection: Connection) -> None:
    """Do writes that can be done in one go, which saves two round trips of each transaction.

    Raises:
        TransactionLostError: A work failed; all of the transaction must be undone.
    """
    first = jobs[0]
    try:
        if isinstance(first, SharedJob):
            results = first.kind(connection, [job.item for job in jobs if isinstance(job, SharedJob)])
        else:
            results = [first.work(connection)]
    except Exception as error:
        raise TransactionLostError(error) from error
    if not _is_open(connection):
        failure = NotWrittenError("the transaction ended before it was committed; nothing of it is acknowledged")
        raise TransactionLostError(failure)
    for job, result in zip(jobs, results, strict=True):
        job.take(result)


def can_do_in_one_go(jobs: Sequence[Job[Any]]) -> bool:
    """Say whether ``run_without_savepoint`` takes these: one write, or several of one kind."""
    kinds = {job.kind if isinstance(job, SharedJob) else job for job in jobs}
    return len(kinds) == 1


def _run_together(jobs: Sequence[SharedJob[Any]], connection: Connection) -> None:
    """Do several writes of one kind in one go; where that fails, each by itself, so that only the faulty one fails."""
    try:
        results = _in_savepoint(connection, lambda inside: jobs[0].kind(inside, [job.item for job in jobs]))
    except TransactionLostError:
        raise
    except Exception:
        for job in jobs:
            job.run(connection)
        return
    for job, result in zip(jobs, results, strict=True):
        job.take(result)


def run_all(jobs: Iterable[Job[Any]], connection: Connection) -> None:
    """Do writes of any kinds, each in a savepoint, so that only a faulty one fails."""
    shared: dict[Callable[..., Any], list[SharedJob[Any]]] = {}
    for job in jobs:
        if isinstance(job, SharedJob):
            shared.setdefault(job.kind, []).append(job)
        else:
            job.run(connection)
    for together in shared.values():
        if len(together) == 1:
            together[0].run(connection)
        else:
            _run_together(together, connection)


def _in_savepoint(connection: Connection, work: Callable[[Connection], T]) -> T:
    """Do some work whose failure undoes its own writes alone.

    Raises:
        TransactionLostError: The transaction did not survive, and with it nobody's writes.
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
            raise TransactionLostError(failure or error) from error
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
