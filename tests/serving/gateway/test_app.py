import subprocess
import sys
from typing import Any

import pytest
from starlette.testclient import TestClient

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from serving.gateway.examples import REQUEST_EXAMPLES, SUGGESTION_EXAMPLE

URL = "/v1/suggestions"


def test_a_suggestion_says_code_evidence_alternatives_and_version(
    gateway: TestClient, request_body: dict[str, Any]
) -> None:
    response = gateway.post(URL, json=request_body)
    assert response.status_code == 200
    suggestion = Suggestion.model_validate(response.json())
    [code] = suggestion.codes
    assert (code.code, code.rank, code.confidence) == ("I10", 1, 0.9)
    assert code.description == "Essential (primary) hypertension"
    assert [evidence.text for evidence in code.evidence] == ["essential hypertension"]
    assert [alternative.code for alternative in code.alternatives] == ["I11.9"]
    assert (suggestion.version.number, suggestion.degraded, suggestion.findings) == (3, False, ())
    assert suggestion.route.rules == ("confidence-below-threshold",)
    assert suggestion.suggestion_id[14] == "7"


def test_the_trace_of_the_caller_is_continued(gateway: TestClient, request_body: dict[str, Any]) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    response = gateway.post(URL, json=request_body, headers=headers)
    assert response.json()["trace_id"] == response.headers["x-trace-id"] == trace


@pytest.mark.parametrize("header", ["", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "<script>", "ff-" + "a" * 49])
def test_a_void_trace_is_replaced(gateway: TestClient, request_body: dict[str, Any], header: str) -> None:
    trace_id = gateway.post(URL, json=request_body, headers={"traceparent": header}).json()["trace_id"]
    assert len(trace_id) == 32
    assert trace_id not in header
    assert int(trace_id, 16) > 0


def test_live_needs_no_key_and_no_backend(gateway: TestClient) -> None:
    del gateway.headers["Authorization"]
    assert gateway.get("/healthz").json() == {"status": "ok"}


def test_documentation_shows_examples_and_problems(gateway: TestClient) -> None:
    assert gateway.get("/docs").status_code == 200
    operation = gateway.get("/openapi.json").json()["paths"][URL]["post"]
    assert set(operation["requestBody"]["content"]["application/json"]["examples"]) == set(REQUEST_EXAMPLES)
    assert {"200", "400", "401", "403", "413", "422", "429", "503", "504"} <= set(operation["responses"])
    assert "application/problem+json" in operation["responses"]["413"]["content"]
    assert operation["security"]


def test_examples_are_valid(gateway: TestClient) -> None:
    for example in REQUEST_EXAMPLES.values():
        SuggestionRequest.model_validate(example["value"])
    suggestion = Suggestion.model_validate(SUGGESTION_EXAMPLE)
    note = REQUEST_EXAMPLES["outpatient"]["value"]["notes"][0]["text"]
    [evidence] = suggestion.codes[0].evidence
    assert note[evidence.start : evidence.end] == evidence.text == "essential hypertension"
    answer = gateway.post(URL, json=REQUEST_EXAMPLES["outpatient"]["value"])
    assert answer.status_code == 200


def test_the_gateway_never_imports_torch() -> None:
    heavy = "'torch', 'transformers', 'mlflow', 'training', 'pandas', 'matplotlib'"
    program = (
        "import sys, serving.gateway.app, serving.fallback.client, serving.settings\n"
        f"raise SystemExit(' '.join(name for name in ({heavy}) if name in sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert finished.stderr.strip() == ""
