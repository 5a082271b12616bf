"""Items of jobs are each settled once, whoever works on them, and keep no text that nobody needs."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select, update

from ledger.audit_log import entries
from ledger.group_commit import write
from ledger.job_leases import (
    Claimed,
    LeaseLostError,
    answer_item,
    claim_items,
    fail_item,
    has_items,
    release_item,
)
from ledger.jobs import JobKeyTakenError, JobStatus, NewItem, cancel_job, find_job, read_results, submit_job
from ledger.principals import Principal
from ledger.requests import job_items, jobs
from ledger.retention import purge


def submit(engine: Engine, principal: Principal, num_items: int = 3, **given: Any) -> JobStatus:
    items = [NewItem(line, f"r{line}", f'{{"text": "note {line}"}}') for line in range(1, num_items + 1)]
    given = {"trace_id": "t" * 32, "body_sha256": "0" * 64, "idempotency_key": None} | given
    job, _ = write(engine, lambda connection: submit_job(connection, items, principal=principal, **given))
    return job


def claim(engine: Engine, worker_id: str = "w", *, num_items: int = 10, lease_seconds: float = 60) -> list[Claimed]:
    return write(
        engine,
        lambda connection: claim_items(
            connection, worker_id=worker_id, num_items=num_items, lease_seconds=lease_seconds
        ),
    )


def look(engine: Engine, job_id: str) -> JobStatus:
    with engine.connect() as connection:
        job = find_job(connection, job_id)
    assert job is not None
    return job


def texts(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count(job_items.c.request))).scalar_one()


def test_items_are_claimed_in_order_once_and_settled(engine: Engine, admin: Principal, store_suggestion: Any) -> None:
    first, second = submit(engine, admin), submit(engine, admin, 1)
    assert has_items(engine)
    one, two = claim(engine, num_items=2)
    [three, four] = claim(engine, "other")
    assert [(item.job_id, item.line) for item in (one, two, three, four)] == [
        *((first.job_id, line) for line in (1, 2, 3)),
        (second.job_id, 1),
    ]
    assert (one.principal, one.request, one.num_attempts) == (admin, '{"text": "note 1"}', 1)
    assert claim(engine) == [] and not has_items(engine)
    suggestion_id = store_suggestion("Cough.")
    for item in (one, three, four):
        write(engine, partial(answer_item, item=item, suggestion_id=suggestion_id))
    write(engine, lambda connection: fail_item(connection, two, problem='{"title": "p"}'))
    done = look(engine, first.job_id)
    assert (done.state, dict(done.num_by_state)) == ("done", {"answered": 2, "failed": 1})
    assert done.finished_at is not None and texts(engine) == 0
    with engine.connect() as connection:
        results = read_results(connection, first.job_id, after=0, limit=10)
        assert read_results(connection, first.job_id, after=2, limit=10) == results[2:]
    assert [(result.line, result.suggestion is None, result.problem) for result in results] == [
        (1, False, None),
        (2, True, '{"title": "p"}'),
        (3, False, None),
    ]


def test_results_stop_at_the_first_item_that_is_not_done(engine: Engine, admin: Principal) -> None:
    job = submit(engine, admin)
    one, _, three = claim(engine)
    for item in (one, three):
        write(engine, partial(fail_item, item=item, problem="{}"))
    with engine.connect() as connection:
        assert [result.line for result in read_results(connection, job.job_id, after=0, limit=10)] == [1]


def test_whoever_lost_the_lease_writes_nothing(engine: Engine, admin: Principal, store_suggestion: Any) -> None:
    job = submit(engine, admin, 1)
    [slow] = claim(engine, "slow", lease_seconds=-1)
    [quick] = claim(engine, "quick")
    assert quick.num_attempts == 2
    suggestion_id = store_suggestion("Cough.")

    def late(connection: Connection) -> None:
        connection.execute(update(jobs).values(trace_id="late"))
        answer_item(connection, slow, suggestion_id=suggestion_id)

    with pytest.raises(LeaseLostError):
        write(engine, late)
    write(engine, lambda connection: answer_item(connection, quick, suggestion_id=suggestion_id))
    with pytest.raises(LeaseLostError):
        write(engine, lambda connection: fail_item(connection, quick, problem="{}"))
    with engine.connect() as connection:
        assert connection.execute(select(jobs.c.trace_id)).scalar_one() == "t" * 32
    assert look(engine, job.job_id).num_by_state == {"answered": 1}


@pytest.mark.parametrize(("is_attempt", "num_attempts"), [(True, 2), (False, 1)])
def test_an_item_that_is_given_back_is_claimed_again(
    engine: Engine, admin: Principal, is_attempt: bool, num_attempts: int
) -> None:
    submit(engine, admin, 1)
    [item] = claim(engine)
    write(engine, lambda connection: release_item(connection, item, is_attempt=is_attempt))
    [again] = claim(engine)
    assert again.num_attempts == num_attempts


def test_a_cancelled_job_keeps_what_was_answered_and_no_text(
    engine: Engine, admin: Principal, store_suggestion: Any
) -> None:
    job = submit(engine, admin)
    one, two = claim(engine, num_items=2)
    suggestion_id = store_suggestion("Cough.")
    write(engine, lambda connection: answer_item(connection, one, suggestion_id=suggestion_id))
    for _ in range(2):
        write(engine, lambda connection: cancel_job(connection, job.job_id, principal=admin))
    cancelled = look(engine, job.job_id)
    assert (cancelled.state, dict(cancelled.num_by_state)) == ("cancelled", {"answered": 1, "cancelled": 2})
    assert texts(engine) == 0 and claim(engine) == []
    with pytest.raises(LeaseLostError):
        write(engine, lambda connection: answer_item(connection, two, suggestion_id=suggestion_id))
    assert [entry["action"] for entry in entries(engine, limit=2)] == ["job-cancelled", "suggestion-made"]


def test_a_job_is_kept_once_under_its_key(engine: Engine, admin: Principal) -> None:
    job = submit(engine, admin, idempotency_key="k")
    assert submit(engine, admin, idempotency_key="k") == job
    with pytest.raises(JobKeyTakenError, match="use a new key"):
        submit(engine, admin, idempotency_key="k", body_sha256="1" * 64)
    assert submit(engine, admin).job_id != submit(engine, admin).job_id


def test_the_purge_cancels_old_jobs_with_their_text(engine: Engine, admin: Principal) -> None:
    old = submit(engine, admin)
    moment = datetime.now(UTC)
    new = submit(engine, admin, 1)
    purge(engine, before=moment, principal=admin)
    assert (look(engine, old.job_id).state, look(engine, new.job_id).state) == ("cancelled", "running")
    assert texts(engine) == 1
    assert moment - timedelta(minutes=1) < look(engine, old.job_id).created_at < moment
