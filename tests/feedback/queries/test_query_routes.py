"""Queries over HTTP, from the list to an answer whose suggestion is made anew."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.errors import FeedbackError
from feedback.query_life import QueryAnswer
from feedback.query_routes import query_router
from feedback.settings import FeedbackSettings
from ledger.principals import Principal
from ledger.suggestions import suggestions

Maker = Callable[..., Any]
URL = "/v1/queries"
AMENDED = {
    "option": 0,
    "documentation_amended": True,
    "notes": [{"note_id": "addendum-1", "type": "addendum", "text": "Chronic systolic heart failure."}],
}


class ScoringError(FeedbackError):
    """What makes suggestions has errors of its own, which pass through."""

    kind = "unavailable"


class Scripted:
    """Makes suggestions anew, remembers on what, and does something else first when told to."""

    def __init__(self, suggest_on: Maker) -> None:
        self.asked: list[SuggestionRequest] = []
        self.paths: list[str] = []
        self.before: Callable[[], None] = lambda: None
        self._suggest_on = suggest_on

    async def __call__(self, http: Request, request: SuggestionRequest) -> Suggestion:
        self.asked.append(request)
        self.paths.append(http.url.path)
        self.before()
        made: Suggestion = self._suggest_on(request, "laterality")
        return made


@pytest.fixture
def rerun(suggest_on: Maker) -> Scripted:
    return Scripted(suggest_on)


@pytest.fixture
def client(
    engine: Engine, people: Mapping[str, Principal], undrawn: FeedbackSettings, rerun: Scripted
) -> Iterator[TestClient]:
    """A small application of the router alone; the header ``who`` names the principal."""
    app = FastAPI()

    def acting(request: Request) -> Principal:
        return people[request.headers["who"]]

    app.include_router(query_router(engine, acting=acting, settings=undrawn, rerun=rerun))

    @app.exception_handler(FeedbackError)
    def answer(_: Request, error: FeedbackError) -> JSONResponse:
        return JSONResponse({"kind": error.kind, "detail": str(error)}, status_code=400)

    with TestClient(app, headers={"who": "coder"}) as client:
        yield client


def post_answer(client: TestClient, query_id: str, body: Any = AMENDED, *, key: str = "k1", who: str = "coder") -> Any:
    return client.post(f"{URL}/{query_id}/answer", json=body, headers={"Idempotency-Key": key, "who": who})


def test_a_query_goes_its_way(client: TestClient, query_id: str, rerun: Scripted) -> None:
    (life,) = client.get(URL).json()["queries"]
    assert (life["query_id"], life["state"], life["events"]) == (query_id, "drafted", [])
    view = client.get(f"{URL}/{query_id}").json()
    assert {name: view[name] for name in life} == life
    assert view["physician_view"]["options"] == [
        "Systolic",
        "Diastolic",
        "Other (please specify)",
        "Unable to determine",
    ]
    assert "icd10cm" not in str(view["physician_view"]) and view["codes"] == ["icd10cm:I50.9"]
    assert client.post(f"{URL}/{query_id}/send").json()["state"] == "sent"
    answered = post_answer(client, query_id, who="service")
    assert answered.status_code == 201
    new_id = answered.json()["new_suggestion_id"]
    assert rerun.paths == [f"{URL}/{query_id}/answer"]
    assert rerun.asked[0].notes[-1].note_id == "addendum-1"
    again = post_answer(client, query_id, who="service")
    assert (again.status_code, again.json()) == (200, answered.json())
    assert len(rerun.asked) == 1
    closed = client.post(f"{URL}/{query_id}/close", json={"reason": "resolved"}).json()
    assert (closed["state"], closed["new_suggestion_id"]) == ("closed", new_id)
    assert [event["state"] for event in closed["events"]] == ["sent", "answered", "closed"]
    assert [one["suggestion_id"] for one in client.get(URL, params={"state": "drafted"}).json()["queries"]] == [new_id]
    page = client.get(URL, params={"suggestion_id": view["suggestion_id"], "limit": 1}).json()
    assert ([one["query_id"] for one in page["queries"]], page["next_after"]) == ([query_id], None)


def test_an_answer_that_amends_nothing_is_not_scored(client: TestClient, sent: str, rerun: Scripted) -> None:
    answered = post_answer(client, sent, {"option": 3, "documentation_amended": False})
    assert (answered.status_code, answered.json()["new_suggestion_id"], rerun.asked) == (201, None, [])


@pytest.mark.parametrize(("num_others", "status"), [(0, 201), (2, 201), (3, 400)])
def test_what_another_answer_amended_meanwhile_is_scored_anew(
    client: TestClient, ask: Maker, answer: Maker, rerun: Scripted, num_others: int, status: int
) -> None:
    made: Suggestion = ask("heart-failure-type", *(f"topic-{number}" for number in range(num_others)))
    first, *waiting = (query.query_id for query in made.queries)
    for query_id in (first, *waiting):
        client.post(f"{URL}/{query_id}/send")

    def amend() -> None:
        if waiting:
            answer(waiting.pop(), notes=({"note_id": f"a{len(waiting)}", "text": f"Addendum {len(waiting)}."},))

    rerun.before = amend
    answered = post_answer(client, first)
    assert answered.status_code == status, answered.text
    added = [len(request.notes) - len(rerun.asked[0].notes) for request in rerun.asked]
    assert added == list(range(num_others + 1))[:3]
    if status == 400:
        assert answered.json()["kind"] == "conflict" and "send this one again" in answered.json()["detail"]
        assert post_answer(client, first).status_code == 201


def test_scoring_that_fails_stores_nothing(engine: Engine, client: TestClient, sent: str, rerun: Scripted) -> None:
    def fail() -> None:
        raise ScoringError("no model can answer now")

    rerun.before = fail
    assert post_answer(client, sent).json()["kind"] == "unavailable"
    assert client.get(f"{URL}/{sent}").json()["state"] == "sent"
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(suggestions)).scalar_one() == 1
    rerun.before = lambda: None
    assert post_answer(client, sent).status_code == 201


UNCHANGED = {"option": 0, "documentation_amended": False}
WRONG = [
    ("supervisor", "{}/send", None, "conflict"),
    ("other-coder", "{}/send", None, "unknown-id"),
    ("reviewer", "{}/send", None, "forbidden"),
    ("coder", "unknown/send", None, "unknown-id"),
    ("coder", "%00/send", None, "unknown-id"),
    ("coder", "{}/close", {"reason": "resolved"}, "conflict"),
    ("coder", "{}/close", {"reason": "superseded"}, "conflict"),
    ("admin", "{}/close", {"reason": "withdrawn"}, "forbidden"),
    ("coder", "{}/answer", UNCHANGED | {"option": 9}, "invalid-feedback"),
    ("admin", "{}/answer", UNCHANGED, "forbidden"),
    ("other-coder", "{}/answer", UNCHANGED, "unknown-id"),
]
MISSHAPEN = [
    ("GET", "?limit=0", None),
    ("GET", "?limit=201", None),
    ("GET", "?state=lost", None),
    ("POST", "/x/close", {"reason": "bored"}),
    ("POST", "/x/close", {}),
    ("POST", "/x/answer", {"option": 0, "documentation_amended": True}),
]


def test_what_is_wrong_has_its_kind(client: TestClient, sent: str) -> None:
    for who, path, body, kind in WRONG:
        headers = {"who": who, "Idempotency-Key": "k1"}
        told = client.post(f"{URL}/{path.format(sent)}", json=body, headers=headers).json()
        assert told.get("kind") == kind, (who, path, told)


def test_what_has_another_form_is_refused(client: TestClient) -> None:
    for method, path, body in MISSHAPEN:
        told = client.request(method, URL + path, json=body, headers={"Idempotency-Key": "k"})
        assert told.status_code == 422, (method, path, body)


def test_an_answer_needs_its_key(client: TestClient, sent: str) -> None:
    assert client.post(f"{URL}/{sent}/answer", json=AMENDED).status_code == 422


def test_the_documented_examples_are_answers(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"][f"{URL}/{{query_id}}/answer"]["post"]
    examples = described["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) == 2
    for example in examples.values():
        QueryAnswer.model_validate(example["value"])
    assert {"200", "201"} <= described["responses"].keys()
