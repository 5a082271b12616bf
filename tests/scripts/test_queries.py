"""``chartloop queries`` against its endpoints on a real port."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from clinical_coding.artefact import new_id
from clinical_coding.physician_queries import OTHER, UNABLE_TO_DETERMINE
from clinical_coding.readers import read_records
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.errors import FeedbackError
from feedback.keeping import keep_suggestion
from feedback.query_routes import query_router
from feedback.settings import load_feedback
from ledger.engine import default_url, migrate, open_engine
from ledger.group_commit import write
from ledger.principals import Principal, authenticate, create_key
from ledger.suggestions import load
from scripts.queries import app
from serving.client import GatewayUnreachableError, RequestRefusedError

SETTINGS = load_feedback(Path(__file__).parents[2] / "configs" / "feedback.yaml")
OPTIONS = {
    "multiple-choice": ("Systolic", "Diastolic", OTHER, UNABLE_TO_DETERMINE),
    "open-ended": (),
    "yes-no": ("Yes", "No"),
}
Run = Callable[..., Result]


def suggest(request: SuggestionRequest, *forms: str) -> Suggestion:
    note = request.notes[0]
    indicator = {
        "note_id": note.note_id,
        "start": 0,
        "end": 5,
        "name": "first words",
        "text": f"{note.text[:5]}\x1b[31m",
    }
    queries = [
        {"query_id": new_id(), "topic": f"topic-{form}", "title": "A title", "form": form, "question": "Which type?"}
        | {"options": OPTIONS[form], "indicators": [indicator], "codes": ["icd10cm:I50.9"], "source": "Guideline I.B.2"}
        for form in forms
    ]
    return Suggestion.model_validate(
        {
            "suggestion_id": new_id(),
            "version": {"name": "clinical-coder", "number": 1, "alias": None, "bundle_sha256": "0" * 64},
            "route": {"decision": "assisted", "rules": [], "record_confidence": 0.9},
            "degraded": False,
            "codes": [],
            "queries": queries,
            "trace_id": "0" * 32,
        }
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(default_url(tmp_path))
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def coder(engine: Engine) -> Principal:
    principal = authenticate(engine, create_key(engine, role="coder", name="ada"))
    assert principal is not None
    return principal


@pytest.fixture
def make_query(engine: Engine, coder: Principal) -> Callable[[str], str]:
    """Draft a query of this form in a stored suggestion, and give its id."""
    [record] = read_records("sample:1")
    request = SuggestionRequest(record_id=record.record_id, encounter=record.encounter, notes=record.notes)

    def make(form: str) -> str:
        made = suggest(request, form)
        write(engine, lambda connection: keep_suggestion(connection, request, made, principal=coder, settings=SETTINGS))
        return made.queries[0].query_id

    return make


@pytest.fixture
def url(engine: Engine, coder: Principal) -> Iterator[str]:
    """The endpoints on a port of their own; whoever asks is the coder."""
    app = FastAPI()

    async def rerun(_: Request, request: SuggestionRequest) -> Suggestion:
        return suggest(request)

    app.include_router(query_router(engine, acting=lambda: coder, settings=SETTINGS, rerun=rerun))  # type: ignore[arg-type, misc]

    @app.exception_handler(FeedbackError)
    def answer(_: Request, error: FeedbackError) -> JSONResponse:
        return JSONResponse({"title": error.kind, "detail": str(error), "remedy": "Mend it."}, status_code=409)

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a command: ``run("send", ID)``."""
    monkeypatch.setenv("COLUMNS", "200")

    def give(*arguments: object, url: str = url) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments), "--url", url, "--key", "k"])

    return give


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout.splitlines()[-1])


def test_a_query_goes_its_way(run: Run, engine: Engine, make_query: Callable[[str], str], tmp_path: Path) -> None:
    query_id = make_query("multiple-choice")
    page = run("list").stdout
    assert query_id in page and "drafted" in page and "topic-multiple-choice" in page
    shown = run("show", query_id).stdout
    for words in ("A title", "Which type?", "1  Systolic", "4  Unable to determine", "first words", "icd10cm:I50.9"):
        assert words in shown
    assert "\x1b[31m" not in shown
    assert "is sent" in run("send", query_id).stdout
    addendum = tmp_path / "addendum.txt"
    addendum.write_text("Chronic systolic heart failure.", encoding="utf-8")
    answered = run("answer", query_id, "--option", 1, "--notes", addendum)
    assert answered.exit_code == 0, answered.exception
    assert "option 1, documentation amended: suggestion" in answered.stdout
    closed = told(run("close", query_id, "--reason", "resolved", "--json"))
    assert [event["state"] for event in closed["events"]] == ["sent", "answered", "closed"]
    with engine.connect() as connection:
        request = load(connection, closed["new_suggestion_id"]).request
    assert request is not None
    assert (request.notes[-1].note_id, request.notes[-1].text) == ("addendum.txt", "Chronic systolic heart failure.")
    assert "closed" in run("show", query_id).stdout


def test_lists_are_chosen_and_paged(run: Run, make_query: Callable[[str], str]) -> None:
    assert "no query of this kind" in run("list", "--state", "answered").stdout
    first, second = (make_query("multiple-choice") for _ in range(2))
    run("send", second)
    assert [life["query_id"] for life in told(run("list", "--state", "sent", "--json"))["queries"]] == [second]
    page = told(run("list", "--limit", 1, "--json"))
    assert (page["queries"][0]["query_id"], page["next_after"]) == (first, first)
    assert f"--after {first}" in run("list", "--limit", 1).stdout
    assert [life["query_id"] for life in told(run("list", "--after", first, "--json"))["queries"]] == [second]
    one = page["queries"][0]["suggestion_id"]
    assert [life["query_id"] for life in told(run("list", "--suggestion", one, "--json"))["queries"]] == [first]


@pytest.mark.parametrize(
    ("form", "arguments", "option"),
    [
        ("multiple-choice", ["--option", 2], 1),
        ("multiple-choice", ["--other"], 2),
        ("multiple-choice", ["--unable"], 3),
        ("open-ended", [], None),
        ("yes-no", ["--option", 1], 0),
    ],
)
def test_options_are_counted_as_shown(
    run: Run, make_query: Callable[[str], str], form: str, arguments: list[object], option: int | None
) -> None:
    query_id = make_query(form)
    run("send", query_id)
    life = told(run("answer", query_id, *arguments, "--json"))
    assert (life["events"][-1]["option"], life["events"][-1]["documentation_amended"]) == (option, False)


@pytest.mark.parametrize(
    ("form", "arguments", "message"),
    [
        ("multiple-choice", [], "takes exactly one of --option, --other and --unable"),
        ("multiple-choice", ["--option", 1, "--other"], "takes exactly one of"),
        ("multiple-choice", ["--option", 5], "--option 5 is none of the query's 4 options"),
        ("open-ended", ["--option", 1], "takes none of them: it is open-ended"),
        ("yes-no", ["--unable"], "has no option 'Unable to determine'"),
    ],
)
def test_answers_that_do_not_fit_are_told(
    run: Run, make_query: Callable[[str], str], form: str, arguments: list[object], message: str
) -> None:
    query_id = make_query(form)
    run("send", query_id)
    assert message in str(run("answer", query_id, *arguments).exception)


def test_a_note_can_take_the_place_of_one(
    run: Run, engine: Engine, make_query: Callable[[str], str], tmp_path: Path
) -> None:
    query_id = make_query("open-ended")
    run("send", query_id)
    [record] = read_records("sample:1")
    text = tmp_path / "corrected.txt"
    text.write_text("Corrected note.", encoding="utf-8")
    both = run("answer", query_id, "--notes", text, "--notes", text, "--note-id", "n1")
    assert "--note-id names one note, but --notes gives 2" in str(both.exception)
    life = told(run("answer", query_id, "--notes", text, "--note-id", record.notes[0].note_id, "--json"))
    with engine.connect() as connection:
        request = load(connection, life["new_suggestion_id"]).request
    assert request is not None
    assert [note.note_id for note in request.notes] == [note.note_id for note in record.notes]
    assert request.notes[0].text == "Corrected note."


def test_the_same_answer_is_sent_again_under_its_key(run: Run, make_query: Callable[[str], str]) -> None:
    query_id = make_query("yes-no")
    refused = run("answer", query_id, "--option", 1).exception
    assert isinstance(refused, RequestRefusedError) and f"query {query_id} is drafted" in str(refused)
    run("send", query_id)
    first = told(run("answer", query_id, "--option", 1, "--idempotency-key", "k1", "--json"))
    assert told(run("answer", query_id, "--option", 1, "--idempotency-key", "k1", "--json")) == first
    assert isinstance(run("answer", query_id, "--option", 1).exception, RequestRefusedError)


def test_nobody_there_says_how_to_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, make_query: Callable[[str], str]
) -> None:
    assert isinstance(run("list", url="http://127.0.0.1:1").exception, GatewayUnreachableError)
    from scripts.query_client import QueryClient

    def lose(*_: object, **__: object) -> None:
        raise GatewayUnreachableError("no answer")

    query_id = make_query("yes-no")
    run("send", query_id)
    monkeypatch.setattr(QueryClient, "answer_query", lose)
    lost = run("answer", query_id, "--option", 1, "--idempotency-key", "k7").exception
    assert str(lost) == "no answer; it may be stored all the same, so send it again with --idempotency-key k7"


@pytest.mark.parametrize("command", ["list", "show", "send", "answer", "close"])
def test_every_command_explains_itself(command: str) -> None:
    helped = CliRunner().invoke(app, [command, "--help"])
    assert helped.exit_code == 0 and "Usage:" in helped.stdout
