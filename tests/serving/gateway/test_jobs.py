"""Jobs: submitted over HTTP, worked on beside everything else, fetched when they are done."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from ledger.principals import create_key, revoke
from ledger.requests import job_items
from ledger.suggestions import suggestions
from serving.backends import (
    BackendUnavailableError,
    DeadlineExceededError,
    InvalidInputError,
    Priority,
    QueueFullError,
)
from serving.gateway.settings import JobSettings

URL = "/v1/jobs"
NDJSON = {"Content-Type": "application/x-ndjson"}
QUICK = JobSettings(poll_seconds=0.05)
Bodies = list[dict[str, Any]]


@pytest.fixture
def bodies(request_body: dict[str, Any]) -> Bodies:
    return [request_body | {"record_id": f"r{number}"} for number in range(1, 4)]


@pytest.fixture
def gateway(open_gateway: Callable[..., TestClient], key: str) -> TestClient:
    client = open_gateway(jobs=QUICK, with_fallback=False, failures_to_open=99)
    client.headers["Authorization"] = f"Bearer {key}"
    return client


def submit(gateway: TestClient, bodies: Bodies, **headers: str) -> Any:
    content = "".join(f"{json.dumps(body)}\n" for body in bodies)
    return gateway.post(URL, content=content, headers=NDJSON | headers)


def finish(gateway: TestClient, job_id: str) -> Any:
    give_up_at = time.monotonic() + 10
    while (job := gateway.get(f"{URL}/{job_id}").json())["state"] == "running":
        assert time.monotonic() < give_up_at, job
        time.sleep(0.02)
    return job


def fetch(gateway: TestClient, job_id: str, **query: int) -> Bodies:
    response = gateway.get(f"{URL}/{job_id}/results", params=query)
    assert (response.status_code, response.headers["content-type"]) == (200, NDJSON["Content-Type"])
    return [json.loads(line) for line in response.text.splitlines()]


def num_texts(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count(job_items.c.request))).scalar_one()


def test_a_job_is_answered_and_fetched(gateway: TestClient, bodies: Bodies, engine: Engine, primary: Any) -> None:
    submitted = submit(gateway, bodies)
    job = submitted.json()
    assert (submitted.status_code, submitted.headers["location"]) == (201, f"{URL}/{job['job_id']}")
    assert (job["state"], job["num_items"]) == ("running", 3)
    done = finish(gateway, job["job_id"])
    assert (done["state"], done["num_answered"], done["num_waiting"]) == ("done", 3, 0)
    results = fetch(gateway, job["job_id"])
    assert [(line["line"], line["record_id"]) for line in results] == [(1, "r1"), (2, "r2"), (3, "r3")]
    for line in results:
        stored = gateway.get(f"/v1/suggestions/{line['suggestion']['suggestion_id']}")
        assert stored.json() == line["suggestion"]
    assert fetch(gateway, job["job_id"], after=1, limit=1) == results[1:2]
    assert set(primary.priorities) == {Priority.BULK}
    assert num_texts(engine) == 0


def test_a_list_is_taken_too(gateway: TestClient, bodies: Bodies) -> None:
    job = gateway.post(URL, json=bodies).json()
    assert finish(gateway, job["job_id"])["num_answered"] == 3


def test_a_submission_with_a_fault_keeps_nothing_and_names_the_lines(
    gateway: TestClient, bodies: Bodies, engine: Engine
) -> None:
    bodies[1]["notes"] = []
    bodies[2]["notes"] = [{"note_id": "n1", "text": "x" * 100_001}]
    response = submit(gateway, bodies)
    assert response.status_code == 422
    fields = [error["field"] for error in response.json()["errors"]]
    assert fields == ["line 2: notes", "line 3"]
    assert num_texts(engine) == 0


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"", NDJSON["Content-Type"], 422),
        (b"[]", "application/json", 422),
        (b"{}", "application/json", 422),
        (b"[" * 100_000, "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[1]", "text/plain", 415),
        (b"\xff\n", NDJSON["Content-Type"], 422),
    ],
)
def test_what_is_no_job_is_refused(gateway: TestClient, content: bytes, media_type: str, status: int) -> None:
    assert gateway.post(URL, content=content, headers={"Content-Type": media_type}).status_code == status


def test_a_job_has_a_most(open_gateway: Callable[..., TestClient], key: str, bodies: Bodies) -> None:
    gateway = open_gateway(jobs=JobSettings(max_items=2))
    assert submit(gateway, bodies, Authorization=f"Bearer {key}").status_code == 413


def test_a_job_under_a_key_is_kept_once(gateway: TestClient, bodies: Bodies) -> None:
    keyed = {"Idempotency-Key": "night-1"}
    first, again = submit(gateway, bodies, **keyed), submit(gateway, bodies, **keyed)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["job_id"] == again.json()["job_id"]
    assert submit(gateway, bodies[:1], **keyed).status_code == 409


def test_others_see_jobs_of_their_own(gateway: TestClient, bodies: Bodies, engine: Engine) -> None:
    job_id = submit(gateway, bodies).json()["job_id"]
    for role, status in (("coder", 404), ("service", 404), ("supervisor", 200), ("admin", 200), ("reviewer", 403)):
        headers = {"Authorization": f"Bearer {create_key(engine, role=role, name=f'other {role}')}"}
        for path in (f"{URL}/{job_id}", f"{URL}/{job_id}/results"):
            assert gateway.get(path, headers=headers).status_code == status
        assert gateway.delete(f"{URL}/{job_id}", headers=headers).status_code == status
    assert gateway.get(f"{URL}/none%00").status_code == 404


def test_a_cancelled_job_stops(gateway: TestClient, bodies: Bodies, engine: Engine, primary: Any) -> None:
    primary.delay_seconds = 0.3
    job_id = submit(gateway, bodies).json()["job_id"]
    while primary.num_asked == 0:
        time.sleep(0.01)
    cancelled = gateway.delete(f"{URL}/{job_id}").json()
    assert (cancelled["state"], cancelled["num_cancelled"]) == ("cancelled", 3)
    assert num_texts(engine) == 0
    time.sleep(0.6)
    # What was under way came too late, and nothing of it is kept.
    assert gateway.get(f"{URL}/{job_id}").json() == cancelled
    assert fetch(gateway, job_id) == []
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(suggestions)).scalar_one() == 0


def test_what_may_pass_is_tried_again_and_what_may_not_is_told(
    gateway: TestClient, bodies: Bodies, primary: Any, engine: Engine
) -> None:
    slow = [DeadlineExceededError("slow")] * QUICK.max_attempts
    busy = [QueueFullError("full"), BackendUnavailableError("gone")] * QUICK.max_attempts
    for errors, outcome in (([*busy, *slow[1:], None], None), (slow, 504), ([InvalidInputError("no")], 422)):
        primary.next_errors.extend(errors)
        job_id = submit(gateway, bodies[:1]).json()["job_id"]
        finish(gateway, job_id)
        [line] = fetch(gateway, job_id)
        assert line.get("problem", {}).get("status") == outcome
        assert not primary.next_errors


def test_a_job_of_a_revoked_key_is_not_answered(
    gateway: TestClient, bodies: Bodies, engine: Engine, primary: Any
) -> None:
    theirs = {"Authorization": f"Bearer {create_key(engine, role='service', name='ehr')}"}
    primary.next_errors.extend([QueueFullError("full")] * 3)
    primary.delay_seconds = 0.2
    job_id = submit(gateway, bodies, **theirs).json()["job_id"]
    revoke(engine, name="ehr")
    primary.next_errors.extend([QueueFullError("full")] * 9)
    admin = {"Authorization": f"Bearer {create_key(engine, role='admin', name='root')}"}
    gateway.headers.update(admin)
    assert finish(gateway, job_id)["num_failed"] == 3
    assert {line["problem"]["status"] for line in fetch(gateway, job_id)} == {401}


def test_a_gateway_that_ends_gives_its_items_back_to_the_next(
    make_app: Callable[..., TestClient], engine: Engine, key: str, bodies: Bodies, active: Any, primary: Any
) -> None:
    who = {"Authorization": f"Bearer {key}"}
    primary.delay_seconds = 30.0
    first = make_app(engine, jobs=QUICK)
    job_id = submit(first, bodies, **who).json()["job_id"]
    while primary.num_asked < 3:
        time.sleep(0.01)
    first.__exit__(None, None, None)
    with engine.connect() as connection:
        states = connection.execute(select(job_items.c.state, job_items.c.num_attempts)).all()
    assert states == [("waiting", 0)] * 3
    primary.delay_seconds = 0.0
    second = make_app(engine, jobs=QUICK)
    second.headers.update(who)
    assert finish(second, job_id)["num_answered"] == 3
