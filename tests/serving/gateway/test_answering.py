"""The same request under the same key is answered the same, and stored once."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, insert, select
from starlette.testclient import TestClient

from clinical_coding.artefact import sha256_of_json
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.settings import load_feedback
from ledger.engine import writing
from ledger.principals import Principal, authenticate, create_key
from ledger.requests import suggestion_keys
from ledger.suggestions import suggestion_contents, suggestions
from serving.backends import DeadlineExceededError
from serving.gateway.answering import Answering, check_key
from serving.gateway.problems import ProblemError
from serving.gateway.storing import SuggestionStore

URL = "/v1/suggestions"
FEEDBACK = load_feedback(Path(__file__).parents[3] / "configs" / "feedback.yaml")
KEYED = {"Idempotency-Key": "visit-1"}


def num_stored(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(suggestions)).scalar_one()


def test_a_repeated_request_is_answered_from_the_store(
    gateway: TestClient, engine: Engine, request_body: dict[str, Any], primary: Any
) -> None:
    first = gateway.post(URL, json=request_body, headers=KEYED)
    again = gateway.post(URL, json=dict(reversed(request_body.items())), headers=KEYED)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"
    assert (primary.num_asked, num_stored(engine)) == (1, 1)


def test_a_key_is_of_one_request_and_one_principal(
    gateway: TestClient, engine: Engine, request_body: dict[str, Any]
) -> None:
    assert gateway.post(URL, json=request_body, headers=KEYED).status_code == 200
    other = gateway.post(URL, json=request_body | {"record_id": "r2"}, headers=KEYED)
    assert (other.status_code, other.json()["type"]) == (409, "urn:chartloop:problem:key-reused")
    theirs = KEYED | {"Authorization": f"Bearer {create_key(engine, role='service', name='ehr')}"}
    assert gateway.post(URL, json=request_body | {"record_id": "r2"}, headers=theirs).status_code == 200


@pytest.mark.parametrize("value", ["", "k" * 129])
def test_a_key_that_cannot_be_stored_is_told(gateway: TestClient, request_body: dict[str, Any], value: str) -> None:
    response = gateway.post(URL, json=request_body, headers={"Idempotency-Key": value})
    assert response.status_code == 422
    assert "Idempotency-Key" in response.json()["errors"][0]["field"]


def test_a_key_holds_no_control_characters() -> None:
    # PostgreSQL takes no null character in a text.
    with pytest.raises(ProblemError, match="printable"):
        check_key("a\x00b")


def test_withheld_codes_stay_withheld_when_asked_again(
    gateway: TestClient, request_body: dict[str, Any], primary: Any
) -> None:
    primary.codes = tuple(code.model_copy(update={"confidence": 0.05}) for code in primary.codes)
    answers = [gateway.post(URL, json=request_body, headers=KEYED).json() for _ in range(2)]
    assert answers[0] == answers[1] and answers[0]["codes"] == []


def test_a_purged_answer_is_not_made_anew(gateway: TestClient, engine: Engine, request_body: dict[str, Any]) -> None:
    gateway.post(URL, json=request_body, headers=KEYED)
    with writing(engine) as connection:
        connection.execute(delete(suggestion_contents))
    assert gateway.post(URL, json=request_body, headers=KEYED).status_code == 410


def test_a_failed_attempt_leaves_the_key_free(
    open_gateway: Callable[..., TestClient], key: str, request_body: dict[str, Any], primary: Any, engine: Engine
) -> None:
    gateway = open_gateway(with_fallback=False)
    headers = KEYED | {"Authorization": f"Bearer {key}"}
    primary.error = DeadlineExceededError("too slow")
    assert gateway.post(URL, json=request_body, headers=headers).status_code == 504
    primary.error = None
    assert gateway.post(URL, json=request_body, headers=headers).status_code == 200
    assert num_stored(engine) == 1


def test_attempts_at_once_are_computed_once(
    gateway: TestClient, engine: Engine, request_body: dict[str, Any], primary: Any
) -> None:
    primary.delay_seconds = 0.2
    with ThreadPoolExecutor(4) as threads:
        attempts = [threads.submit(gateway.post, URL, json=request_body, headers=KEYED) for _ in range(4)]
        ids = {attempt.result().json()["suggestion_id"] for attempt in attempts}
    assert (len(ids), primary.num_asked, num_stored(engine)) == (1, 1, 1)


def test_whoever_waits_for_another_attempt_has_a_deadline_too(
    gateway: TestClient, request_body: dict[str, Any], primary: Any
) -> None:
    primary.delay_seconds = 1.0
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(gateway.post, URL, json=request_body, headers=KEYED)
        while primary.num_asked == 0:
            time.sleep(0.01)
        second = gateway.post(URL, json=request_body, headers=KEYED | {"X-Request-Timeout-Ms": "150"})
        assert (second.status_code, first.result().status_code) == (504, 200)


def test_another_gateway_that_was_quicker_has_the_word(
    gateway: TestClient, engine: Engine, request_body: dict[str, Any]
) -> None:
    made = Suggestion.model_validate(gateway.post(URL, json=request_body).json())
    ours = Suggestion.model_validate(gateway.post(URL, json=request_body).json())
    principal = authenticate(engine, gateway.headers["Authorization"].removeprefix("Bearer "))
    assert principal is not None
    asked = SuggestionRequest.model_validate(request_body)
    answer = asyncio.run(_lose(engine, asked, principal=principal, theirs=made, ours=ours))
    assert answer.is_repeated and answer.suggestion.suggestion_id == made.suggestion_id
    assert num_stored(engine) == 2


async def _lose(
    engine: Engine, asked: SuggestionRequest, *, principal: Principal, theirs: Suggestion, ours: Suggestion
) -> Any:
    async def make() -> Suggestion:
        # Meanwhile the other gateway stores its own.
        row = {"principal_id": principal.id, "idempotency_key": "k", "suggestion_id": theirs.suggestion_id}
        with writing(engine) as connection:
            sha256 = sha256_of_json(asked.model_dump(mode="json"))
            connection.execute(insert(suggestion_keys).values(**row, body_sha256=sha256))
        return ours.model_copy(update={"suggestion_id": "01930000-0000-7000-8000-00000000000f"})

    answering = Answering(engine, store=SuggestionStore(engine, settings=FEEDBACK))
    return await answering.answer(asked, principal=principal, make=make, key="k")


def test_the_answer_says_where_its_time_went(gateway: TestClient, request_body: dict[str, Any], primary: Any) -> None:
    primary.delay_seconds = 0.1
    response = gateway.post(URL, json=request_body)
    latency = response.json()["latency"]
    assert latency["model_ms"] >= 100
    parts = [latency[name] for name in ("admitted_ms", "queued_ms", "model_ms", "review_ms")]
    assert latency["total_ms"] == pytest.approx(sum(parts), abs=0.01)
    told = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
    assert set(told) == {"admitted", "queued", "model", "review", "store"}
    assert float(told["model"]) == pytest.approx(latency["model_ms"], abs=0.06)
    assert float(told["store"]) > 0


def test_what_became_durable_too_late_is_not_answered_and_can_be_asked_for(
    gateway: TestClient, request_body: dict[str, Any], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = SuggestionStore.keep

    async def slow(*args: Any, **given: Any) -> None:
        await keep(*args, **given)
        await asyncio.sleep(0.5)

    monkeypatch.setattr(SuggestionStore, "keep", slow)
    late = gateway.post(URL, json=request_body, headers=KEYED | {"X-Request-Timeout-Ms": "400"})
    assert late.status_code == 504
    again = gateway.post(URL, json=request_body, headers=KEYED)
    assert (again.status_code, num_stored(engine)) == (200, 1)
