"""Items of jobs, leased to workers, so that each is answered exactly once in effect (stage 7).

A worker writes an item's outcome only while it still holds the lease, in the transaction that stores the
suggestion: so an item whose worker died is done again, and one that two workers did is kept once. How an item
is answered is not known here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Row, exists, or_, select, update

from ledger.principals import Principal, Role, principals
from ledger.requests import job_items, jobs

__all__ = ["Claimed", "LeaseLostError", "answer_item", "claim_items", "fail_item", "has_items", "release_item"]

_UNFINISHED: Final = ("waiting", "leased")
_NOT_LEASED: Final[dict[str, Any]] = {"leased_by": None, "leased_until": None}


class LeaseLostError(Exception):
    """The item is another worker's now, or its job was cancelled; nothing may be written for it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """An item that a worker holds for a while."""

    job_id: str
    line: int
    request: str
    num_attempts: int
    """This one included."""
    principal: Principal
    """Who submitted the job."""
    trace_id: str
    worker_id: str


def has_items(engine: Engine) -> bool:
    """Whether there is an item to claim; blocks."""
    with engine.connect() as connection:
        return bool(connection.scalar(select(exists().where(_is_free(datetime.now(UTC))))))


def claim_items(connection: Connection, *, worker_id: str, num_items: int, lease_seconds: float) -> list[Claimed]:
    """Lease items, those of the oldest job first, and those whose worker did not come back.

    Args:
        connection: Inside ``ledger.group_commit.write``, which lets one writer in at a time.
        worker_id: Who claims them.
        num_items: At most so many.
        lease_seconds: For how long nobody else gets them.
    """
    now = datetime.now(UTC)
    rows = connection.execute(
        select(job_items, jobs.c.trace_id, principals)
        .join(jobs, jobs.c.id == job_items.c.job_id)
        .join(principals, principals.c.id == jobs.c.principal_id)
        .where(_is_free(now))
        .order_by(job_items.c.job_id, job_items.c.line)
        .limit(num_items)
    ).all()
    lease = {"state": "leased", "leased_by": worker_id, "leased_until": now + timedelta(seconds=lease_seconds)}
    for row in rows:
        one = update(job_items).where(job_items.c.job_id == row.job_id, job_items.c.line == row.line)
        connection.execute(one.values(**lease, num_attempts=row.num_attempts + 1))
    return [_claimed(row, worker_id=worker_id) for row in rows]


def answer_item(connection: Connection, item: Claimed, *, suggestion_id: str) -> None:
    """Note the suggestion, in the transaction that stores it.

    Raises:
        LeaseLostError: The item is not this worker's any more; let the transaction be undone.
    """
    _settle(connection, item, state="answered", request=None, suggestion_id=suggestion_id)
    _finish(connection, item.job_id)


def fail_item(connection: Connection, item: Claimed, *, problem: str) -> None:
    """Note why there is no suggestion.

    Args:
        connection: Inside ``ledger.group_commit.write``.
        item: The item.
        problem: As problem+json; without clinical text.

    Raises:
        LeaseLostError: The item is not this worker's any more.
    """
    _settle(connection, item, state="failed", request=None, problem=problem)
    _finish(connection, item.job_id)


def release_item(connection: Connection, item: Claimed, *, is_attempt: bool) -> None:
    """Give an item back, to be tried again.

    Args:
        connection: Inside ``ledger.group_commit.write``.
        item: The item.
        is_attempt: Whether it was tried, and failed.

    Raises:
        LeaseLostError: The item is not this worker's any more.
    """
    _settle(connection, item, state="waiting", num_attempts=item.num_attempts - (not is_attempt))


def _is_free(now: datetime) -> ColumnElement[bool]:
    return job_items.c.state.in_(_UNFINISHED) & or_(job_items.c.state == "waiting", job_items.c.leased_until < now)


def _settle(connection: Connection, item: Claimed, **values: Any) -> None:
    held = update(job_items).where(
        job_items.c.job_id == item.job_id,
        job_items.c.line == item.line,
        job_items.c.state == "leased",
        job_items.c.leased_by == item.worker_id,
        job_items.c.num_attempts == item.num_attempts,
    )
    if connection.execute(held.values(**_NOT_LEASED, **values)).rowcount != 1:
        raise LeaseLostError


def _finish(connection: Connection, job_id: str) -> None:
    is_unfinished = exists().where(job_items.c.job_id == job_id, job_items.c.state.in_(_UNFINISHED))
    done = update(jobs).where(jobs.c.id == job_id, jobs.c.state == "running", ~is_unfinished)
    connection.execute(done.values(state="done", finished_at=datetime.now(UTC)))


def _claimed(row: Row[Any], *, worker_id: str) -> Claimed:
    return Claimed(
        job_id=row.job_id,
        line=row.line,
        request=row.request,
        num_attempts=row.num_attempts + 1,
        principal=Principal(
            id=row.id, name=row.name, role=Role(row.role), created_at=row.created_at, revoked_at=row.revoked_at
        ),
        trace_id=row.trace_id,
        worker_id=worker_id,
    )
