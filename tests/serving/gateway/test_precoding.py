"""The pre-coding check tells gaps and queries, and nobody can read a code through it."""

from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from clinical_coding.codes import CodeSystem
from clinical_coding.findings import Finding, Severity
from clinical_coding.predictions import PredictedCode
from clinical_coding.suggestions import Route, RouteDecision, Suggestion
from ledger.principals import create_key
from ledger.suggestions import load
from serving.gateway.precoding import without_codes
from tests.serving.gateway.conftest import CODES, VERSION, ScriptedBackend

PATH = "/v1/suggestions?mode=pre-coding"
HEART_FAILURE = "Discharge diagnosis: heart failure. BNP 1200. Furosemide IV given. Ejection fraction 30%."


@pytest.fixture
def heart_failure(request_body: dict[str, Any], primary: ScriptedBackend) -> dict[str, Any]:
    request_body["notes"][0]["text"] = HEART_FAILURE
    evidence = CODES[0].evidence[0].model_copy(update={"start": 21, "end": 34})
    primary.codes = (
        PredictedCode(system=CodeSystem.ICD10CM, code="I50.9", confidence=0.9, suggested=True, evidence=(evidence,)),
    )
    return request_body


def test_no_code_is_told_nor_kept(gateway: TestClient, engine: Engine, heart_failure: dict[str, Any]) -> None:
    response = gateway.post(PATH, json=heart_failure)
    assert response.status_code == 200, response.text
    told = response.json()
    assert told["queries"], "the rules ask for the type of heart failure"
    assert not {"codes", "route", "grouping"} & set(told) and "I50" not in response.text
    with engine.connect() as connection:
        stored = load(connection, told["suggestion_id"]).suggestion
    assert stored is not None and "I50" not in stored.model_dump_json()


def test_its_queries_can_be_sent(gateway: TestClient, heart_failure: dict[str, Any]) -> None:
    [query, *_] = gateway.post(PATH, json=heart_failure).json()["queries"]
    sent = gateway.post(f"/v1/queries/{query['query_id']}/send")
    assert sent.status_code == 200, sent.text


def test_no_role_reads_codes_back_or_decides(
    gateway: TestClient, engine: Engine, heart_failure: dict[str, Any]
) -> None:
    identifier = gateway.post(PATH, json=heart_failure).json()["suggestion_id"]
    for role in ("service", "supervisor", "admin"):
        key = create_key(engine, role=role, name=role)
        read = gateway.get(f"/v1/suggestions/{identifier}", headers={"Authorization": f"Bearer {key}"})
        assert read.status_code == 200 and read.json()["codes"] == [] and "I50" not in read.text
    body = {"suggestion_id": identifier, "seconds_spent": 1.0}
    decided = gateway.post("/v1/decisions", json=body, headers={"Idempotency-Key": "k"})
    assert decided.status_code == 422 and "check of the documentation" in decided.text


def test_a_key_is_good_for_one_mode(gateway: TestClient, heart_failure: dict[str, Any]) -> None:
    key = {"Idempotency-Key": "k"}
    first = gateway.post(PATH, json=heart_failure, headers=key).json()
    assert gateway.post(PATH, json=heart_failure, headers=key).json() == first
    assert gateway.post("/v1/suggestions", json=heart_failure, headers=key).status_code == 409


def test_findings_lose_their_codes_and_others_are_left_out() -> None:
    def finding(rule: str) -> Finding:
        explanation = "I10 leaves the side open."
        return Finding(
            rule=rule,
            severity=Severity.WARNING,
            codes=("icd10cm:I10",),
            explanation=explanation,
            source="I.B.13",
            fix="Use I10.",
        )

    suggestion = Suggestion(
        suggestion_id="s",
        version=VERSION,
        route=Route(decision=RouteDecision.ASSISTED, rules=(), record_confidence=0.5),
        degraded=False,
        codes=(),
        findings=(finding("laterality-unspecified"), finding("excludes1-conflict")),
        trace_id="t",
    )
    kept = without_codes(suggestion)
    assert [one.rule for one in kept.findings] == ["laterality-unspecified"]
    assert "I10" not in kept.model_dump_json()
