"""A physician query from the first suggestion to the second, through the gateway."""

from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from clinical_coding.codes import CodeSystem, EvidenceSpan
from clinical_coding.predictions import PredictedCode
from ledger.principals import create_key

NOTE = "Follow-up of heart failure, on furosemide. Echo with ejection fraction 30%. Continue carvedilol."
ADDENDUM = "Addendum: this is chronic systolic heart failure."


def code(number: str, *, confidence: float, note_id: str = "n1", end: int = 26) -> PredictedCode:
    span = EvidenceSpan(note_id=note_id, start=13, end=end)
    return PredictedCode(
        system=CodeSystem.ICD10CM, code=number, confidence=confidence, suggested=True, evidence=(span,)
    )


@pytest.fixture
def suggested(gateway: TestClient, primary: Any) -> dict[str, Any]:
    """A suggestion on a note that leaves the type of a heart failure open."""
    primary.codes = (code("I50.9", confidence=0.97),)
    response = gateway.post(
        "/v1/suggestions",
        json={
            "record_id": "r1",
            "encounter": {"setting": "outpatient", "specialty": "cardiology", "complexity": "low"},
            "notes": [{"note_id": "n1", "text": NOTE}],
        },
    )
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


def amended(*, option: int = 0) -> dict[str, Any]:
    notes = [{"note_id": "n2", "type": "addendum", "text": ADDENDUM}]
    return {"option": option, "documentation_amended": True, "notes": notes}


def test_an_answer_asks_the_model_anew_and_both_suggestions_are_kept(
    gateway: TestClient, primary: Any, suggested: dict[str, Any]
) -> None:
    [query] = suggested["queries"]
    assert (suggested["route"]["decision"], "documentation-gap" in suggested["route"]["rules"]) == ("assisted", True)
    url = f"/v1/queries/{query['query_id']}"
    assert gateway.get(url).json()["physician_view"].keys() == {"title", "form", "question", "options", "indicators"}
    assert gateway.post(f"{url}/send").json()["state"] == "sent"
    primary.codes = (code("I50.22", confidence=0.98),)
    headers = {"Idempotency-Key": "k1"}
    told = gateway.post(f"{url}/answer", json=amended(), headers=headers)
    assert told.status_code == 201, told.text
    renewed = gateway.get(f"/v1/suggestions/{told.json()['new_suggestion_id']}").json()
    assert [one["code"] for one in renewed["codes"]] == ["I50.22"]
    before = gateway.get(f"/v1/suggestions/{suggested['suggestion_id']}").json()
    assert before == suggested
    again = gateway.post(f"{url}/answer", json=amended(), headers=headers)
    assert (again.status_code, again.json()) == (200, told.json())
    assert gateway.post(f"{url}/close", json={"reason": "resolved"}).json()["state"] == "closed"
    assert 'chartloop_suggestions_total{decision="autonomous"} 1.0' in gateway.get("/metrics").text


def test_an_answer_without_a_model_is_not_stored(
    gateway: TestClient, primary: Any, fallback: Any, suggested: dict[str, Any]
) -> None:
    from serving.backends import BackendUnavailableError

    url = f"/v1/queries/{suggested['queries'][0]['query_id']}"
    gateway.post(f"{url}/send")
    primary.error = fallback.error = BackendUnavailableError("gone")
    refused = gateway.post(f"{url}/answer", json=amended(), headers={"Idempotency-Key": "k1"})
    assert refused.status_code == 503
    assert gateway.get(url).json()["state"] == "sent"


def test_an_answer_before_the_query_was_sent_is_a_conflict(gateway: TestClient, suggested: dict[str, Any]) -> None:
    url = f"/v1/queries/{suggested['queries'][0]['query_id']}"
    refused = gateway.post(f"{url}/answer", json=amended(), headers={"Idempotency-Key": "k1"})
    assert refused.status_code == 409
    assert "drafted" in refused.json()["detail"]


def test_another_coder_learns_nothing_of_a_query(
    gateway: TestClient, engine: Engine, suggested: dict[str, Any]
) -> None:
    query_id = suggested["queries"][0]["query_id"]
    other = {"Authorization": f"Bearer {create_key(engine, role='coder', name='eve')}"}
    assert gateway.get("/v1/queries", headers=other).json()["queries"] == []
    assert gateway.get(f"/v1/queries/{query_id}", headers=other).status_code == 404
    assert gateway.post(f"/v1/queries/{query_id}/send", headers=other).status_code == 404
