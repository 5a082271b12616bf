import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from ledger.principals import create_key, revoke
from serving.backends import (
    BackendUnavailableError,
    DeadlineExceededError,
    InvalidInputError,
    QueueFullError,
    RequestFailedError,
)

URL = "/v1/suggestions"
CANARY = "Zebedee-Quartermain-19310412"


def assert_problem(response: Any, *, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"urn:chartloop:problem:{kind}"
    assert problem["status"] == status
    assert problem["title"] and problem["detail"] and problem["remedy"]
    assert problem["trace_id"] == response.headers["x-trace-id"]
    assert CANARY not in response.text
    return problem


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "Bearer", "Bearer  "])
def test_no_key(gateway: TestClient, header: str | None) -> None:
    del gateway.headers["Authorization"]
    headers = {} if header is None else {"Authorization": header}
    # The body is broken, too: who has no key is not told.
    response = gateway.post(URL, content=b"{", headers=headers)
    assert_problem(response, status=401, kind="no-key")
    assert response.headers["www-authenticate"] == 'Bearer realm="chartloop"'


def test_a_wrong_key_is_not_repeated(gateway: TestClient, request_body: dict[str, Any]) -> None:
    response = gateway.post(URL, json=request_body, headers={"Authorization": f"Bearer {CANARY}"})
    assert_problem(response, status=401, kind="wrong-key")
    assert 'error="invalid_token"' in response.headers["www-authenticate"]


@pytest.mark.parametrize("role", ["service", "coder", "supervisor", "admin"])
def test_roles_that_may_ask(gateway: TestClient, engine: Engine, request_body: dict[str, Any], role: str) -> None:
    key = create_key(engine, role=role, name=role)
    response = gateway.post(URL, json=request_body, headers={"Authorization": f"bearer {key}"})
    assert response.status_code == 200


def test_a_reviewer_may_not_ask(gateway: TestClient, engine: Engine, request_body: dict[str, Any]) -> None:
    key = create_key(engine, role="reviewer", name="rita")
    response = gateway.post(URL, json=request_body, headers={"Authorization": f"Bearer {key}"})
    problem = assert_problem(response, status=403, kind="wrong-role")
    assert "role reviewer may not do this; it takes service, coder, supervisor, admin" in problem["detail"]


def test_a_revoked_key_ends_within_the_cache_time(
    open_gateway: Callable[..., TestClient], engine: Engine, key: str, request_body: dict[str, Any]
) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    patient, strict = open_gateway(key_cache_seconds=60), open_gateway(key_cache_seconds=0)
    statuses = [client.post(URL, json=request_body, headers=headers).status_code for client in (patient, strict)]
    revoke(engine, name="ada")
    statuses += [client.post(URL, json=request_body, headers=headers).status_code for client in (patient, strict)]
    assert statuses == [200, 200, 200, 401]


def test_a_broken_key_database_is_503(gateway: TestClient, engine: Engine, request_body: dict[str, Any]) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE keys"))
    response = gateway.post(URL, json=request_body)
    assert_problem(response, status=503, kind="no-database")
    assert response.headers["retry-after"] == "1"


def _changed(path: str, value: Any) -> bytes:
    body: dict[str, Any] = {
        "record_id": "r1",
        "encounter": {"setting": "outpatient", "specialty": "cardiology"},
        "notes": [{"note_id": "n1", "text": CANARY}],
    }
    *parents, name = path.split(".")
    place: Any = body
    for parent in parents:
        place = place[int(parent) if parent.isdigit() else parent]
    place[name] = value
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (_changed("notes.0.text", ""), "notes.0.text"),
        (_changed("notes.0.text", " \n"), "notes.0"),
        (_changed("notes.0.text", [CANARY]), "notes.0.text"),
        (_changed("notes.0.text", 7), "notes.0.text"),
        (_changed("notes.0.text", "\ud800" + CANARY), "notes.0.text"),
        (_changed("notes", []), "notes"),
        (_changed("notes", CANARY), "notes"),
        (_changed("notes", [{"note_id": "n1", "text": CANARY}] * 2), "body"),
        (_changed("encounter.setting", CANARY), "encounter.setting"),
        (_changed("encounter.age", CANARY), "encounter.age"),
        (_changed("encounter.age", -1), "encounter.age"),
        (_changed("encounter.sex", CANARY), "encounter.sex"),
        (_changed("encounter.service_start", CANARY), "encounter.service_start"),
        (_changed(f"encounter.{CANARY}", 1), "encounter.*"),
        (_changed(CANARY, CANARY), "*"),
        (_changed("record_id", CANARY * 10), "record_id"),
        (json.dumps([CANARY]).encode(), "body"),
        (json.dumps(CANARY).encode(), "body"),
        (b"null", "body"),
        (b"", "body"),
    ],
)
def test_a_422_names_the_field_and_never_the_value(gateway: TestClient, body: bytes, field: str) -> None:
    response = gateway.post(URL, content=body, headers={"Content-Type": "application/json"})
    problem = assert_problem(response, status=422, kind="invalid-request")
    assert field in [error["field"] for error in problem["errors"]]


@pytest.mark.parametrize(
    "body",
    [
        _changed("record_id", "r")[:-1],
        f'{{"note": "{CANARY}'.encode(),
        CANARY.encode(),
        f'{{"text": "{CANARY}ñ"}}'.encode("latin-1"),
        b"\xff\xfe\x00",
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_not_json_in_utf8(gateway: TestClient, body: bytes) -> None:
    response = gateway.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert_problem(response, status=400, kind="malformed-body")


def test_a_note_in_any_script_is_answered(gateway: TestClient, request_body: dict[str, Any]) -> None:
    request_body["notes"][0]["text"] = "Hipertensión 高血圧 𐍈 🫀 \u0000 essential hypertension"
    content = json.dumps(request_body, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert gateway.post(URL, content=content, headers=headers).status_code == 200


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_of_another_type_is_refused(gateway: TestClient, media_type: str) -> None:
    body = _changed("record_id", "r")
    response = gateway.post(URL, content=body, headers={"Content-Type": media_type})
    assert_problem(response, status=415, kind="wrong-media-type")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.just(CANARY) | st.just(CANARY * 3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just(CANARY), inner, max_size=1),
        max_leaves=4,
    ),
    path=st.sampled_from(
        [
            *("notes", "notes.0.note_id", "notes.0.type", "encounter", "encounter.flags", "encounter.service_end"),
            *("encounter.complexity", "record_id", "patient_id", CANARY),
        ]
    ),
)
def test_no_answer_repeats_what_was_sent(gateway: TestClient, path: str, value: Any) -> None:
    body = (
        _changed(path, value)
        if not path.startswith("notes.")
        else _changed("notes", [{"note_id": "n1", "text": "x", path.rpartition(".")[2]: value}])
    )
    response = gateway.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (200, 422)
    assert response.status_code == 200 or CANARY not in response.text


def test_too_many_characters_name_the_limit(gateway: TestClient, request_body: dict[str, Any]) -> None:
    request_body["notes"][0]["text"] = CANARY * 7_200
    response = gateway.post(URL, json=request_body)
    problem = assert_problem(response, status=413, kind="too-large")
    assert problem["detail"] == "the notes hold 201,600 characters; at most 100,000 are read"


def test_characters_count_over_all_notes(
    open_gateway: Callable[..., TestClient], key: str, request_body: dict[str, Any]
) -> None:
    client = open_gateway(max_note_characters=100)
    client.headers["Authorization"] = f"Bearer {key}"
    request_body["notes"] = [{"note_id": f"n{number}", "text": "x" * 50} for number in range(2)]
    assert client.post(URL, json=request_body).status_code == 200
    request_body["notes"].append({"note_id": "n3", "text": "y"})
    assert_problem(client.post(URL, json=request_body), status=413, kind="too-large")


def test_a_large_body_is_refused_whether_declared_or_streamed(gateway: TestClient) -> None:
    declared = gateway.post(URL, content=b" " * 1_048_577, headers={"Content-Type": "application/json"})
    problem = assert_problem(declared, status=413, kind="too-large")
    assert "1,048,576 bytes" in problem["detail"]
    chunks = (b" " * 65_536 for _ in range(17))
    streamed = gateway.post(URL, content=chunks, headers={"Content-Type": "application/json"})
    assert "content-length" not in streamed.request.headers
    assert_problem(streamed, status=413, kind="too-large")


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry_after"),
    [
        (QueueFullError("64 wait", retry_after_seconds=2.1), 429, "queue-full", "3"),
        (DeadlineExceededError("late"), 504, "deadline", None),
        (InvalidInputError("refused"), 422, "invalid-notes", None),
    ],
)
def test_backend_errors_have_their_own_status(
    gateway: TestClient,
    primary: Any,
    fallback: Any,
    request_body: dict[str, Any],
    error: Exception,
    status: int,
    kind: str,
    retry_after: str | None,
) -> None:
    primary.error = fallback.error = error
    response = gateway.post(URL, json=request_body)
    assert_problem(response, status=status, kind=kind)
    assert response.headers.get("retry-after") == retry_after


def test_notes_that_nobody_can_score_are_told_so(
    gateway: TestClient, primary: Any, fallback: Any, request_body: dict[str, Any]
) -> None:
    primary.error = fallback.error = RequestFailedError("failed at these notes")
    problem = assert_problem(gateway.post(URL, json=request_body), status=500, kind="scoring-failed")
    assert "by hand" in problem["remedy"]


def test_many_errors_are_counted_and_the_first_told(gateway: TestClient, request_body: dict[str, Any]) -> None:
    request_body["notes"] = [{"note_id": "n", "text": ""}] * 1_500
    problem = assert_problem(gateway.post(URL, json=request_body), status=422, kind="invalid-request")
    assert len(problem["errors"]) == 20
    assert problem["detail"].endswith("; these are the first 20 of 1,501 errors")


def test_both_down_is_503(gateway: TestClient, primary: Any, fallback: Any, request_body: dict[str, Any]) -> None:
    primary.error = fallback.error = BackendUnavailableError("gone")
    response = gateway.post(URL, json=request_body)
    assert_problem(response, status=503, kind="unavailable")
    assert response.headers["retry-after"] == "1"
    assert gateway.get("/readyz").status_code == 503


def test_an_unexpected_error_tells_its_type_alone(
    gateway: TestClient, primary: Any, request_body: dict[str, Any]
) -> None:
    primary.error = RuntimeError(CANARY)
    problem = assert_problem(gateway.post(URL, json=request_body), status=500, kind="internal")
    assert problem["detail"] == "an unexpected RuntimeError"


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", f"/{CANARY}", 404, "not-found"),
        ("GET", f"/v1/{CANARY}", 404, "not-found"),
        ("GET", URL, 405, "wrong-method"),
        ("DELETE", "/healthz", 405, "wrong-method"),
    ],
)
def test_other_paths_and_methods(gateway: TestClient, method: str, path: str, status: int, kind: str) -> None:
    assert_problem(gateway.request(method, path), status=status, kind=kind)
