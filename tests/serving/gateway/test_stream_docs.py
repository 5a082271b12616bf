"""What /docs says of streams and jobs: bodies that can be sent as they stand, and every problem."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from clinical_coding.suggestions import SuggestionRequest
from serving.gateway.examples import BULK_ANSWER_EXAMPLE, BULK_EXAMPLE, JOB_EXAMPLE, JOB_RESULTS_EXAMPLE
from serving.gateway.job_routes import JobView

NDJSON = "application/x-ndjson"


@pytest.fixture
def paths(gateway: TestClient) -> dict[str, Any]:
    document = gateway.get("/openapi.json").json()
    assert "SuggestionRequest" in document["components"]["schemas"]
    found: dict[str, Any] = document["paths"]
    return found


@pytest.mark.parametrize("path", ["/v1/suggestions/bulk", "/v1/jobs"])
def test_the_example_of_a_body_is_taken(gateway: TestClient, paths: dict[str, Any], path: str) -> None:
    assert paths[path]["post"]["requestBody"]["content"][NDJSON]["example"] == BULK_EXAMPLE
    for line in BULK_EXAMPLE.splitlines():
        SuggestionRequest.model_validate_json(line)
    answer = gateway.post(path, content=BULK_EXAMPLE, headers={"Content-Type": NDJSON})
    assert answer.status_code in (200, 201)


def test_the_examples_of_answers_look_like_answers(gateway: TestClient) -> None:
    told = [json.loads(line) for line in BULK_ANSWER_EXAMPLE.splitlines()]
    answer = gateway.post("/v1/suggestions/bulk", content=BULK_EXAMPLE, headers={"Content-Type": NDJSON})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [told[0].keys(), told[-1].keys()] == [lines[0].keys(), lines[-1].keys()]
    assert json.loads(JOB_RESULTS_EXAMPLE) == told[0]
    assert JobView.model_validate(JOB_EXAMPLE).model_dump(mode="json") == JOB_EXAMPLE


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/v1/suggestions", "post", {"200", "409", "410", "413", "415", "422", "429", "503", "504"}),
        ("/v1/suggestions/bulk", "post", {"200", "401", "403", "415", "422", "429", "503"}),
        ("/v1/jobs", "post", {"200", "201", "400", "401", "403", "408", "409", "413", "415", "422", "503"}),
        ("/v1/jobs/{job_id}", "get", {"200", "401", "403", "404", "503"}),
        ("/v1/jobs/{job_id}/results", "get", {"200", "401", "403", "404", "503"}),
        ("/v1/jobs/{job_id}", "delete", {"200", "401", "403", "404", "503"}),
    ],
)
def test_every_answer_is_told(paths: dict[str, Any], path: str, method: str, statuses: set[str]) -> None:
    assert statuses <= set(paths[path][method]["responses"])


def test_headers_are_told(paths: dict[str, Any]) -> None:
    operation = paths["/v1/suggestions"]["post"]
    named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"}
    assert {"Idempotency-Key", "X-Request-Timeout-Ms"} <= named
    assert {"Server-Timing", "Idempotent-Replay"} <= set(operation["responses"]["200"]["headers"])
