from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import Decision
from clinical_coding.suggestions import Suggestion
from feedback.decision_routes import decision_router
from feedback.errors import FeedbackError
from feedback.settings import FeedbackSettings, ReasonCodes
from feedback.tables import audit_draws
from ledger.principals import Principal

REJECT = {"action": "reject", "system": "icd10cm", "code": "r079", "reason": "integral-symptom"}


@pytest.fixture
def client(
    engine: Engine, people: Mapping[str, Principal], drawn: FeedbackSettings, reasons: ReasonCodes
) -> Iterator[TestClient]:
    """A small application of the router alone; the header ``who`` names the principal."""
    app = FastAPI()

    def acting(request: Request) -> Principal:
        return people[request.headers["who"]]

    app.include_router(
        decision_router(engine, acting=acting, settings=drawn, reasons=reasons, systems=CodeSystems.embedded())
    )

    @app.exception_handler(FeedbackError)
    def answer(_: Request, error: FeedbackError) -> JSONResponse:
        return JSONResponse({"kind": error.kind, "detail": str(error)}, status_code=400)

    with TestClient(app) as client:
        yield client


def send(
    client: TestClient, suggestion: Suggestion, *, who: str = "coder", key: str = "k1", **fields: Any
) -> tuple[int, dict[str, Any]]:
    body = {"suggestion_id": suggestion.suggestion_id, "seconds_spent": 3} | fields
    answer = client.post("/v1/decisions", json=body, headers={"who": who, "Idempotency-Key": key})
    return answer.status_code, answer.json()


def test_a_decision_is_answered_with_its_overrides_and_read_back(client: TestClient, suggestion: Suggestion) -> None:
    status, answer = send(client, suggestion, codes=[REJECT])
    assert status == 201
    [override] = answer["overrides"]
    assert (override["action"], override["code"], override["to_code"]) == ("reject", "R07.9", None)
    assert send(client, suggestion, codes=[REJECT]) == (200, answer)
    kept = client.get(f"/v1/decisions/{answer['decision_id']}", headers={"who": "coder"}).json()
    assert {field: kept[field] for field in answer} == answer
    assert kept["decision"]["codes"][0]["code"] == "R07.9"
    path = f"/v1/suggestions/{suggestion.suggestion_id}/decisions"
    assert client.get(path, headers={"who": "coder"}).json() == {"decisions": [kept]}
    found = client.get("/v1/overrides", params={"suggestion_id": suggestion.suggestion_id}, headers={"who": "coder"})
    assert found.json() == {"overrides": [override]}


def test_a_coder_reads_own_decisions_alone(client: TestClient, suggestion: Suggestion) -> None:
    _, answer = send(client, suggestion, codes=[REJECT])
    one = f"/v1/decisions/{answer['decision_id']}"
    both = f"/v1/suggestions/{suggestion.suggestion_id}/decisions"
    overrides = f"/v1/overrides?suggestion_id={suggestion.suggestion_id}"
    for who in ("supervisor", "admin", "service"):
        assert client.get(one, headers={"who": who}).status_code == 200
        assert len(client.get(both, headers={"who": who}).json()["decisions"]) == 1
        assert len(client.get(overrides, headers={"who": who}).json()["overrides"]) == 1
    assert client.get(one, headers={"who": "other-coder"}).json()["kind"] == "unknown-id"
    assert client.get(both, headers={"who": "other-coder"}).json() == {"decisions": []}
    assert client.get(overrides, headers={"who": "other-coder"}).json() == {"overrides": []}
    for path in (one, both, overrides):
        assert client.get(path, headers={"who": "reviewer"}).json()["kind"] == "forbidden"


def test_no_answer_to_a_coder_tells_an_audit_draw(engine: Engine, client: TestClient, suggestion: Suggestion) -> None:
    _, answer = send(client, suggestion)
    path = f"/v1/decisions/{answer['decision_id']}"
    texts = [
        str(answer),
        client.get(path, headers={"who": "coder"}).text,
        client.get(f"/v1/suggestions/{suggestion.suggestion_id}/decisions", headers={"who": "coder"}).text,
        client.get(f"/v1/overrides?suggestion_id={suggestion.suggestion_id}", headers={"who": "coder"}).text,
    ]
    with engine.connect() as connection:
        draw_id = connection.execute(select(audit_draws.c.id)).scalar_one()
    assert not any(word in text for text in texts for word in (draw_id, "draw", "audit", "stratum", "probability"))


@pytest.mark.parametrize(
    ("who", "fields", "kind"),
    [
        ("coder", {"suggestion_id": "unknown"}, "unknown-id"),
        ("reviewer", {}, "forbidden"),
        ("admin", {}, "forbidden"),
        ("coder", {"codes": [REJECT | {"code": "R07.1"}]}, "invalid-feedback"),
    ],
)
def test_what_is_wrong_has_its_kind(
    client: TestClient, suggestion: Suggestion, who: str, fields: dict[str, Any], kind: str
) -> None:
    _, answer = send(client, suggestion, who=who, **fields)
    assert answer["kind"] == kind


def test_a_second_decision_and_a_key_used_for_another_body_are_conflicts(
    client: TestClient, suggestion: Suggestion
) -> None:
    send(client, suggestion)
    assert send(client, suggestion, key="k2")[1]["kind"] == "conflict"
    assert send(client, suggestion, codes=[REJECT])[1]["kind"] == "conflict"


def test_the_key_is_required_and_bounded(client: TestClient, suggestion: Suggestion) -> None:
    body = {"suggestion_id": suggestion.suggestion_id, "seconds_spent": 3}
    assert client.post("/v1/decisions", json=body, headers={"who": "coder"}).status_code == 422
    for key in ("", "x" * 129):
        assert send(client, suggestion, key=key)[0] == 422


@pytest.mark.parametrize(
    "path",
    ["/v1/decisions/unknown", "/v1/decisions/%00", "/v1/suggestions/%00/decisions", "/v1/overrides?suggestion_id=%00"],
)
def test_unknown_ids_are_told(client: TestClient, path: str) -> None:
    assert client.get(path, headers={"who": "admin"}).json()["kind"] == "unknown-id"


def test_the_documented_examples_are_decisions(client: TestClient, reasons: ReasonCodes) -> None:
    described = client.get("/openapi.json").json()["paths"]["/v1/decisions"]["post"]
    examples = described["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) == 3
    for example in examples.values():
        for code in Decision.model_validate(example["value"]).codes:
            reasons.require(code.reason, action=code.action, field="reason")
    assert {"200", "201"} <= described["responses"].keys()
