"""The queue over HTTP, from the next case to a verdict that is read back."""

from collections.abc import Callable, Iterator, Mapping

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from clinical_coding.code_systems import CodeSystems
from feedback.adjudication_routes import adjudication_router
from feedback.errors import FeedbackError
from feedback.settings import FeedbackSettings
from ledger.principals import Principal

WHO = {"who": "supervisor"}
VERDICT = {"verdict": "ai-right", "citation": "ICD-10-CM guideline I.B.5"}


@pytest.fixture
def client(
    engine: Engine, people: Mapping[str, Principal], feedback_settings: FeedbackSettings
) -> Iterator[TestClient]:
    """A small application of the router alone; the header ``who`` names the principal."""
    app = FastAPI()

    def acting(request: Request) -> Principal:
        return people[request.headers["who"]]

    app.include_router(
        adjudication_router(engine, acting=acting, settings=feedback_settings, systems=CodeSystems.embedded())
    )

    @app.exception_handler(FeedbackError)
    def answer(_: Request, error: FeedbackError) -> JSONResponse:
        return JSONResponse({"kind": error.kind}, status_code=400)

    with TestClient(app, headers=WHO) as client:
        yield client


def test_a_case_is_taken_judged_and_read_back(client: TestClient, override: Callable[..., str]) -> None:
    case_id = override()
    page = client.get("/v1/cases").json()
    assert ([case["case_id"] for case in page["cases"]], page["num_open"], page["next_after"]) == ([case_id], 1, None)
    case = client.post("/v1/cases/next").json()
    assert (case["case_id"], case["is_yours"], case["answer"]["action"]) == (case_id, True, "reject")
    assert case["notes"][0]["text"] and case["suggested"][0]["evidence"]
    kept = client.post(f"/v1/cases/{case_id}/adjudication", json=VERDICT)
    assert kept.status_code == 200
    assert kept.json()["override_id"] == case_id
    assert client.post(f"/v1/cases/{case_id}/adjudication", json=VERDICT).json() == kept.json()
    assert client.get(f"/v1/cases/{case_id}").json()["adjudication_id"] == kept.json()["adjudication_id"]
    path = f"/v1/adjudications/{kept.json()['adjudication_id']}"
    for who in ("supervisor", "admin", "service"):
        assert client.get(path, headers={"who": who}).json() == kept.json()
    for who in ("coder", "reviewer"):
        assert client.get(path, headers={"who": who}).json() == {"kind": "forbidden"}
    assert client.post("/v1/cases/next").status_code == 204


def test_a_claim_is_made_and_given_back(client: TestClient, override: Callable[..., str]) -> None:
    path = f"/v1/cases/{override()}/claim"
    other = {"who": "other-supervisor"}
    assert client.post(path).json()["is_yours"]
    assert client.post(path, headers=other).json() == {"kind": "claim-lost"}
    assert client.delete(path, headers=other).json() == {"kind": "claim-lost"}
    assert client.delete(path).status_code == 204
    assert client.post(path, headers=other).json()["is_yours"]


def test_pages_follow_each_other(client: TestClient, override: Callable[..., str]) -> None:
    made = [override() for _ in range(3)]
    first = client.get("/v1/cases", params={"limit": 2}).json()
    second = client.get("/v1/cases", params={"limit": 2, "after": first["next_after"]}).json()
    assert [case["case_id"] for case in first["cases"] + second["cases"]] == made
    assert client.get("/v1/cases", params={"limit": 201}).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("GET", "/v1/cases/unknown", None, "unknown-id"),
        ("POST", "/v1/cases/unknown/claim", None, "unknown-id"),
        ("DELETE", "/v1/cases/unknown/claim", None, "unknown-id"),
        ("POST", "/v1/cases/unknown/adjudication", VERDICT, "unknown-id"),
        ("GET", "/v1/adjudications/unknown%00", None, "unknown-id"),
        ("POST", "/v1/cases/CASE/adjudication", VERDICT, "claim-lost"),
    ],
)
def test_what_goes_wrong_is_told_by_kind(
    client: TestClient, override: Callable[..., str], method: str, path: str, body: object, kind: str
) -> None:
    answer = client.request(method, path.replace("CASE", override()), json=body)
    assert answer.json() == {"kind": kind}


@pytest.mark.parametrize(
    "field", [{"verdict": "maybe"}, {"citation": " "}, {"codes": [{"system": "icd10cm", "code": "x"}]}]
)
def test_a_malformed_verdict_is_refused(
    client: TestClient, override: Callable[..., str], field: dict[str, object]
) -> None:
    assert client.post(f"/v1/cases/{override()}/adjudication", json=VERDICT | field).status_code == 422


def test_a_contradiction_and_a_second_verdict_are_told_apart(client: TestClient, override: Callable[..., str]) -> None:
    path = f"/v1/cases/{override()}"
    client.post(f"{path}/claim")
    wrong = VERDICT | {"verdict": "both-wrong"}
    assert client.post(f"{path}/adjudication", json=wrong).json() == {"kind": "invalid-feedback"}
    assert client.post(f"{path}/adjudication", json=VERDICT).status_code == 200
    again = client.post(f"{path}/adjudication", json=VERDICT | {"verdict": "coder-right"})
    assert again.json() == {"kind": "conflict"}


@pytest.mark.parametrize("who", ["coder", "service", "reviewer", "admin"])
def test_the_queue_is_for_supervisors(client: TestClient, who: str) -> None:
    for method, path in (("GET", "/v1/cases"), ("POST", "/v1/cases/next"), ("GET", "/v1/cases/x")):
        assert client.request(method, path, headers={"who": who}).json() == {"kind": "forbidden"}
