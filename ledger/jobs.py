"""Jobs: requests that nobody waits for, kept until they are answered (stage 7).

Submitted, looked at, cancelled, and read; who works on their items is told in ``ledger.job_leases``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, true, update

from clinical_coding.artefact import new_id
from ledger.audit_log import append
from ledger.principals import Principal
from ledger.requests import job_items, jobs
from ledger.suggestions import suggestion_contents

__all__ = [
    "ItemResult",
    "JobKeyTakenError",
    "JobStatus",
    "NewItem",
    "cancel_job",
    "find_job",
    "read_results",
    "stale_jobs",
    "submit_job",
]

_UNFINISHED: Final = ("waiting", "leased")


class JobKeyTakenError(ValueError):
    """Another job was submitted under the same idempotency key."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """One request of a job."""

    line: int
    record_id: str
    request: str
    """A suggestion request as JSON."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job and how far it is."""

    job_id: str
    principal_id: str
    state: str
    created_at: datetime
    finished_at: datetime | None
    num_items: int
    num_by_state: Mapping[str, int]
    """Items by ``waiting``, ``leased``, ``answered``, ``failed``, ``cancelled``."""


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of an item."""

    line: int
    record_id: str
    suggestion_id: str | None
    suggestion: str | None
    """As stored, every code included; null when it was purged, and where there is none."""
    problem: str | None


def submit_job(
    connection: Connection,
    items: Sequence[NewItem],
    *,
    principal: Principal,
    trace_id: str,
    body_sha256: str,
    idempotency_key: str | None,
) -> tuple[JobStatus, bool]:
    """Keep a job with all its items.

    Args:
        connection: Inside ``ledger.group_commit.write``.
        items: Its requests.
        principal: Who submits it, and in whose name suggestions are made.
        trace_id: Of the request that brought it.
        body_sha256: Tells a repeated submission from another one under the same key.
        idempotency_key: The same for each attempt to submit this job; none when None.

    Returns:
        The job, and whether it was there before, under the same key.

    Raises:
        JobKeyTakenError: Another job is there under the key.
    """
    if idempotency_key is not None:
        before = connection.execute(
            select(jobs.c.id, jobs.c.body_sha256).where(
                jobs.c.principal_id == principal.id, jobs.c.idempotency_key == idempotency_key
            )
        ).one_or_none()
        if before is not None:
            if before.body_sha256 != body_sha256:
                raise JobKeyTakenError("this Idempotency-Key was used for another job; use a new key")
            return _require(find_job(connection, before.id)), True
    job_id = new_id()
    row: dict[str, Any] = {
        "id": job_id,
        "principal_id": principal.id,
        "idempotency_key": idempotency_key,
        "state": "running",
    }
    row |= {"body_sha256": body_sha256, "trace_id": trace_id, "num_items": len(items)}
    connection.execute(insert(jobs).values(**row, created_at=datetime.now(UTC)))
    connection.execute(
        insert(job_items),
        [
            {"job_id": job_id, "line": item.line, "record_id": item.record_id, "request": item.request}
            | {"state": "waiting", "num_attempts": 0}
            for item in items
        ],
    )
    details = {"num_items": len(items), "body_sha256": body_sha256}
    append(connection, principal=principal, action="job-submitted", subject=f"job:{job_id}", details=details)
    return _require(find_job(connection, job_id)), False


def find_job(connection: Connection, job_id: str) -> JobStatus | None:
    """Look at a job; None when there is none under this id."""
    # PostgreSQL refuses some characters in any text; no id holds one.
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none() if job_id.isprintable() else None
    if row is None:
        return None
    count = select(job_items.c.state, func.count()).where(job_items.c.job_id == job_id).group_by(job_items.c.state)
    num_by_state = {state: num for state, num in connection.execute(count).all()}
    return JobStatus(
        job_id=row.id,
        principal_id=row.principal_id,
        state=row.state,
        created_at=row.created_at,
        finished_at=row.finished_at,
        num_items=row.num_items,
        num_by_state=num_by_state,
    )


def cancel_job(connection: Connection, job_id: str, *, principal: Principal) -> None:
    """Give up the items that are not done; what was answered stays. Repeating it is harmless.

    Args:
        connection: Inside ``ledger.group_commit.write``.
        job_id: Of a job.
        principal: Who cancels.
    """
    running = update(jobs).where(jobs.c.id == job_id, jobs.c.state == "running")
    if connection.execute(running.values(state="cancelled", finished_at=datetime.now(UTC))).rowcount == 0:
        return
    unfinished = update(job_items).where(job_items.c.job_id == job_id, job_items.c.state.in_(_UNFINISHED))
    num_items = connection.execute(
        unfinished.values(state="cancelled", request=None, leased_by=None, leased_until=None)
    ).rowcount
    details = {"num_cancelled": num_items}
    append(connection, principal=principal, action="job-cancelled", subject=f"job:{job_id}", details=details)


def stale_jobs(connection: Connection, *, before: datetime, limit: int) -> list[str]:
    """Name jobs that were submitted before a moment and are not done."""
    stale = select(jobs.c.id).where(jobs.c.state == "running", jobs.c.created_at < before)
    return list(connection.scalars(stale.order_by(jobs.c.id).limit(limit)))


def read_results(connection: Connection, job_id: str, *, after: int, limit: int) -> list[ItemResult]:
    """Read what became of items, by line, up to the first that is not done.

    So whoever asks again after the last line sees each exactly once, though items end in any order.

    Args:
        connection: To the database.
        job_id: Of a job.
        after: The last line that was read before; 0 at first.
        limit: At most so many.
    """
    unfinished = select(func.min(job_items.c.line)).where(
        job_items.c.job_id == job_id, job_items.c.state.in_(_UNFINISHED)
    )
    first_unfinished = connection.execute(unfinished).scalar_one()
    is_before = true() if first_unfinished is None else job_items.c.line < first_unfinished
    rows = connection.execute(
        select(job_items, suggestion_contents.c.suggestion)
        .outerjoin(suggestion_contents, suggestion_contents.c.suggestion_id == job_items.c.suggestion_id)
        .where(job_items.c.job_id == job_id, job_items.c.line > after, is_before)
        .where(job_items.c.state.in_(("answered", "failed")))
        .order_by(job_items.c.line)
        .limit(limit)
    ).all()
    return [ItemResult(row.line, row.record_id, row.suggestion_id, row.suggestion, row.problem) for row in rows]


def _require(status: JobStatus | None) -> JobStatus:
    assert status is not None
    return status
