"""Suggestions are durable before they are answered, and read back as they were."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text
from starlette.testclient import TestClient

from clinical_coding.artefact import new_id
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.tables import audit_draws
from ledger.engine import migrate, open_engine
from ledger.principals import create_key
from ledger.suggestions import load, suggestion_contents, suggestions
from serving.gateway.active import ActiveVersion

URL = "/v1/suggestions"
ROLES = ("coder", "service", "supervisor", "admin")
Asking = Callable[..., Any]


@pytest.fixture
def asking(gateway: TestClient, engine: Engine) -> Asking:
    """Ask as somebody of a role: GET an id, or POST a body."""
    keys: dict[str, str] = {}

    def ask(role: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
        keys[role] = keys.get(role) or create_key(engine, role=role, name=f"a {role}")
        headers = {"Authorization": f"Bearer {keys[role]}"} | headers
        return gateway.request("GET" if body is None else "POST", path, json=body, headers=headers)

    return ask


def make_manual(primary: Any) -> None:
    primary.codes = tuple(code.model_copy(update={"confidence": 0.05}) for code in primary.codes)


def kind_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["type"].rpartition(":")[2]


def decide(asking: Asking, suggestion_id: str, **decision: Any) -> Any:
    body = {"suggestion_id": suggestion_id, "seconds_spent": 3} | decision
    return asking("coder", "/v1/decisions", body, **{"Idempotency-Key": new_id()})


def test_what_is_answered_is_stored_with_its_request(
    gateway: TestClient, engine: Engine, request_body: dict[str, Any]
) -> None:
    answer = Suggestion.model_validate(gateway.post(URL, json=request_body).json())
    with engine.connect() as connection:
        stored = load(connection, answer.suggestion_id)
    assert (stored.suggestion, stored.request) == (answer, SuggestionRequest.model_validate(request_body))
    assert gateway.get(f"{URL}/{answer.suggestion_id}").json() == answer.model_dump(mode="json")


def test_codes_withheld_are_stored_with_their_alternatives(
    gateway: TestClient, engine: Engine, primary: Any, request_body: dict[str, Any]
) -> None:
    make_manual(primary)
    answer = gateway.post(URL, json=request_body).json()
    assert (answer["route"]["decision"], answer["codes"]) == ("manual", [])
    with engine.connect() as connection:
        stored = load(connection, answer["suggestion_id"]).suggestion
    assert stored is not None
    assert [(code.code, [other.code for other in code.alternatives]) for code in stored.codes] == [("I10", ["I11.9"])]


def test_withheld_codes_are_shown_to_supervisors_once_decided(
    asking: Asking, primary: Any, request_body: dict[str, Any]
) -> None:
    make_manual(primary)
    path = f"{URL}/{asking('coder', URL, request_body).json()['suggestion_id']}"
    assert [asking(role, path).json()["codes"] for role in ROLES] == [[], [], [], []]
    assert decide(asking, path.rpartition("/")[2], outcome="escalated").status_code == 201
    assert asking("supervisor", path).json()["codes"] == []
    assert decide(asking, path.rpartition("/")[2]).status_code == 201
    shown = {role: [code["code"] for code in asking(role, path).json()["codes"]] for role in ROLES}
    assert shown == {"coder": [], "service": [], "supervisor": ["I10"], "admin": ["I10"]}


def test_a_coder_reads_own_suggestions_alone(gateway: TestClient, asking: Asking, request_body: dict[str, Any]) -> None:
    path = f"{URL}/{gateway.post(URL, json=request_body).json()['suggestion_id']}"
    assert [asking(role, path).status_code for role in ROLES] == [404, 200, 200, 200]
    assert kind_of(asking("coder", path)) == (404, "unknown-id")
    assert kind_of(asking("reviewer", path)) == (403, "wrong-role")
    assert asking("coder", path).json()["detail"] == asking("coder", f"{URL}/{new_id()}").json()["detail"]


@pytest.mark.parametrize("unknown", ["nothing", "%00", "é", "x" * 2_000])
def test_an_unknown_id_is_404(asking: Asking, unknown: str) -> None:
    response = asking("admin", f"{URL}/{unknown}")
    assert kind_of(response) == (404, "unknown-id")
    assert "x" * 50 not in response.text


def test_purged_content_is_gone(gateway: TestClient, engine: Engine, request_body: dict[str, Any]) -> None:
    path = f"{URL}/{gateway.post(URL, json=request_body).json()['suggestion_id']}"
    with engine.begin() as connection:
        connection.execute(suggestion_contents.delete())
    assert kind_of(gateway.get(path)) == (410, "purged")


def test_what_cannot_be_stored_is_not_answered(
    gateway: TestClient, engine: Engine, request_body: dict[str, Any]
) -> None:
    assert gateway.get("/v1/suggestions/x").status_code == 404  # The key is known from here on.
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE suggestion_contents"))
    response = gateway.post(URL, json=request_body)
    assert kind_of(response) == (503, "no-database")
    assert response.headers["retry-after"] == "1"
    assert "suggestion_id" not in response.text
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(suggestions)).scalar_one() == 0
    assert "chartloop_suggestions_total{" not in gateway.get("/metrics").text


def test_autonomous_suggestions_are_drawn_in_the_same_write(
    gateway: TestClient, engine: Engine, primary: Any, request_body: dict[str, Any]
) -> None:
    assisted = gateway.post(URL, json=request_body).json()
    primary.codes = (primary.codes[0].model_copy(update={"confidence": 0.99}),)
    answer = gateway.post(URL, json=request_body).json()
    assert [one["route"]["decision"] for one in (assisted, answer)] == ["assisted", "autonomous"]
    with engine.connect() as connection:
        drawn = connection.execute(select(audit_draws.c.suggestion_id, audit_draws.c.stratum)).all()
    assert drawn == [(answer["suggestion_id"], "autonomous")]
    assert "draw" not in str(answer)


def test_sixteen_at_once_are_all_there(gateway: TestClient, engine: Engine, request_body: dict[str, Any]) -> None:
    def ask(at: int) -> str:
        answer = gateway.post(URL, json=request_body | {"record_id": f"r{at}"})
        return str(answer.json()["suggestion_id"])

    with ThreadPoolExecutor(16) as pool:
        ids = set(pool.map(ask, range(64)))
    with engine.connect() as connection:
        assert set(connection.execute(select(suggestions.c.id)).scalars()) == ids
    assert len(ids) == 64


@pytest.mark.parametrize("field", ["record_id", "patient_id", "specialty", "payer"])
def test_a_null_character_is_the_clients_error_on_postgresql(
    make_app: Callable[..., TestClient], postgres_url: str, request_body: dict[str, Any], field: str
) -> None:
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    migrate(engine)
    client = make_app(engine)
    client.headers["Authorization"] = f"Bearer {create_key(engine, role='coder', name='ada')}"
    place = request_body if field.endswith("_id") else request_body["encounter"]
    place[field] = "a\0b"
    assert kind_of(client.post(URL, json=request_body)) == (422, "invalid-request")
    place[field] = "ab"
    request_body["notes"][0]["text"] += "\0"
    assert client.post(URL, json=request_body).status_code == 200
    engine.dispose()


def test_what_is_wrong_with_feedback_has_a_status_of_its_own(asking: Asking, request_body: dict[str, Any]) -> None:
    suggestion_id = asking("coder", URL, request_body).json()["suggestion_id"]
    wrong = {"action": "reject", "system": "icd10cm", "code": "J45.909", "reason": "integral-symptom"}
    assert kind_of(decide(asking, new_id())) == (404, "unknown-id")
    assert kind_of(decide(asking, suggestion_id, codes=[wrong])) == (422, "invalid-feedback")
    assert kind_of(asking("supervisor", f"/v1/cases/{new_id()}/claim", {})) == (404, "unknown-id")
    assert kind_of(asking("coder", "/v1/cases")) == (403, "wrong-role")
    assert kind_of(asking("coder", "/v1/promotions")) == (403, "wrong-role")
    assert decide(asking, suggestion_id).status_code == 201
    again = decide(asking, suggestion_id)
    assert kind_of(again) == (409, "conflict")
    assert again.json()["trace_id"] == again.headers["x-trace-id"]


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/cases/next", "/v1/promotions", "/v1/trace/x"])
def test_every_mounted_path_needs_a_key(gateway: TestClient, path: str) -> None:
    del gateway.headers["Authorization"]
    assert kind_of(gateway.post(path, json={})) == (401, "no-key")
    assert kind_of(gateway.get(path)) == (401, "no-key")


def test_a_request_keeps_the_version_that_it_began_with(
    gateway: TestClient, active: ActiveVersion, primary: Any, request_body: dict[str, Any]
) -> None:
    primary.delay_seconds = 0.5
    name = active.current.name.model_copy(update={"number": 4, "bundle_sha256": "b" * 64})
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(gateway.post, URL, json=request_body)
        while not primary.num_asked:
            time.sleep(0.01)
        before = active.switch(active.current.renamed(name))
        assert asked.result().json()["version"]["number"] == before.name.number == 3
    answer = gateway.post(URL, json=request_body).json()
    assert (answer["version"]["number"], answer["version"]["bundle_sha256"]) == (4, "b" * 64)
    assert gateway.get("/readyz").json()["version"]["number"] == 4
    info = 'chartloop_version_info{bundle="bbbbbbbbbbbb",number="4"} 1.0'
    assert info in gateway.get("/metrics").text
