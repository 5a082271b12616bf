"""Answers: the suggestion is made anew on the amended notes, both are kept, whole or not at all."""

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.errors import ConflictError, FeedbackError, InvalidError
from feedback.queries import close_query, list_queries, send_query, show_query
from feedback.query_answers import RecordedAnswer, RerunOutdatedError, answer_query, request_for_answer
from feedback.query_life import CloseReason, PurgedError, QueryAnswer, QueryLife, QueryState
from feedback.query_tables import physician_queries, query_events
from feedback.settings import FeedbackSettings
from feedback.stored_decisions import decisions_of
from feedback.stored_queries import newest, rerun_owner
from feedback.tables import audit_draws
from ledger.audit_log import entries
from ledger.audit_verify import verify
from ledger.principals import Principal, create_key
from ledger.retention import purge
from ledger.suggestions import StoredSuggestion, load, suggestions

Maker = Callable[..., Any]
People = Mapping[str, Principal]
ADDENDUM = {"note_id": "addendum-1", "type": "addendum", "text": "Chronic systolic heart failure."}
AMENDED = QueryAnswer.model_validate({"option": 0, "documentation_amended": True, "notes": [ADDENDUM]})


def stored(engine: Engine, suggestion_id: str) -> StoredSuggestion:
    with engine.connect() as connection:
        return load(connection, suggestion_id)


def life_of(engine: Engine, query_id: str, principal: Principal) -> QueryLife:
    (life,) = [one for one in list_queries(engine, principal=principal).queries if one.query_id == query_id]
    return life


def count(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_documentation_that_stays_leads_to_no_suggestion(
    engine: Engine, people: People, sent: str, answer: Maker
) -> None:
    recorded: RecordedAnswer = answer(sent, option=3)
    assert (recorded.life.state, recorded.life.new_suggestion_id) == (QueryState.ANSWERED, None)
    assert count(engine, suggestions) == 1
    said = QueryAnswer(option=3, documentation_amended=False)
    life = life_of(engine, sent, people["coder"])
    assert (life.events[-1].option, life.events[-1].documentation_amended) == (said.option, False)


def test_an_answer_makes_the_suggestion_anew_and_both_are_kept(
    engine: Engine, people: People, ask: Maker, answer: Maker, decide: Maker, sample_request: SuggestionRequest
) -> None:
    made: Suggestion = ask()
    deferred = decide(made.suggestion_id, outcome="deferred")
    (query,) = made.queries
    send_query(engine, query.query_id, principal=people["coder"])
    before = stored(engine, made.suggestion_id)
    first = sample_request.notes[0]
    corrected = {"note_id": first.note_id, "type": first.type, "text": f"Corrected. {first.text}"}
    life = answer(query.query_id, "laterality", notes=(ADDENDUM, corrected)).life
    assert stored(engine, made.suggestion_id) == before
    assert life.new_suggestion_id not in (None, made.suggestion_id)
    again = stored(engine, life.new_suggestion_id)
    assert again.request is not None and again.suggestion is not None
    assert [note.note_id for note in again.request.notes] == [
        *(note.note_id for note in sample_request.notes),
        ADDENDUM["note_id"],
    ]
    assert again.request.notes[0].text == corrected["text"]
    assert again.request.notes[-1].model_dump() == ADDENDUM
    same = ("record_id", "patient_id", "encounter")
    assert all(getattr(again.request, name) == getattr(sample_request, name) for name in same)
    event = life.events[-1]
    assert (event.supersedes, event.new_suggestion_id) == (made.suggestion_id, again.suggestion_id)
    with engine.connect() as connection:
        (kept,) = decisions_of(connection, made.suggestion_id)
        assert newest(connection, made.suggestion_id) == again.suggestion_id
    assert (kept.decision_id, kept.decision.outcome) == (deferred.decision_id, "deferred")
    page = list_queries(engine, principal=people["coder"], suggestion_id=again.suggestion_id)
    assert [(one.topic, one.state) for one in page.queries] == [("laterality", QueryState.DRAFTED)]
    decide(again.suggestion_id)


def test_the_audit_log_names_ids_and_hashes(engine: Engine, sent: str, answer: Maker) -> None:
    life = answer(sent, notes=(ADDENDUM,), key="k1").life
    newest_first = entries(engine, limit=2)
    assert [entry["action"] for entry in newest_first] == ["query-answered", "suggestion-made"]
    details = newest_first[0]["details"]
    assert details.pop("content_sha256") and details.pop("notes_sha256") and details.pop("body_sha256")
    assert details == {
        "suggestion_id": life.suggestion_id,
        "topic": life.topic,
        "option": 0,
        "documentation_amended": True,
        "supersedes_id": life.suggestion_id,
        "new_suggestion_id": life.new_suggestion_id,
    }
    assert verify(engine).is_whole


def test_whoever_brings_the_answer_the_queries_stay_the_coders(
    engine: Engine, people: People, sent: str, answer: Maker
) -> None:
    life = answer(sent, "laterality", notes=(ADDENDUM,), who="service").life
    (drafted,) = list_queries(engine, principal=people["coder"], state=QueryState.DRAFTED).queries
    assert drafted.suggestion_id == life.new_suggestion_id
    send_query(engine, drafted.query_id, principal=people["coder"])
    with engine.connect() as connection:
        assert rerun_owner(connection, life.new_suggestion_id) == people["coder"].id
        assert rerun_owner(connection, life.suggestion_id) is None
        assert load(connection, life.new_suggestion_id).principal_id == people["service"].id


def test_what_was_not_sent_is_superseded_and_what_was_stays_open(
    engine: Engine, people: People, ask: Maker, answer: Maker
) -> None:
    made: Suggestion = ask("heart-failure-type", "laterality", "acuity")
    first, second, third = (query.query_id for query in made.queries)
    for query_id in (first, second):
        send_query(engine, query_id, principal=people["coder"])
    answer(first, notes=(ADDENDUM,))
    assert life_of(engine, second, people["coder"]).state == QueryState.SENT
    left = life_of(engine, third, people["coder"])
    assert (left.state, left.events[0].reason) == (QueryState.CLOSED, CloseReason.SUPERSEDED)
    (entry, *_) = entries(engine, subject=f"query:{third}", limit=9)
    assert (entry["action"], entry["details"]["reason"]) == ("query-closed", "superseded")


def test_later_answers_build_on_earlier_ones(engine: Engine, people: People, ask: Maker, answer: Maker) -> None:
    made: Suggestion = ask("heart-failure-type", "laterality", "acuity")
    for query in made.queries:
        send_query(engine, query.query_id, principal=people["coder"])
    at, ids = made.suggestion_id, []
    for number, query in enumerate(made.queries):
        note = {"note_id": f"a{number}", "text": f"Addendum {number}."}
        life = answer(query.query_id, notes=(note,)).life
        assert life.events[-1].supersedes == at
        at = life.new_suggestion_id
        ids.append(note["note_id"])
        request = stored(engine, at).request
        assert request is not None and [one.note_id for one in request.notes][-len(ids) :] == ids


def test_a_suggestion_made_on_outdated_notes_is_refused_whole(
    engine: Engine, people: People, ask: Maker, answer: Maker, suggest_on: Maker, undrawn: FeedbackSettings
) -> None:
    made: Suggestion = ask("heart-failure-type", "laterality")
    first, second = (query.query_id for query in made.queries)
    for query_id in (first, second):
        send_query(engine, query_id, principal=people["coder"])
    by: dict[str, Any] = {"idempotency_key": "k1", "principal": people["coder"]}
    outdated = request_for_answer(engine, second, AMENDED, **by)
    assert outdated is not None
    answer(first, notes=({"note_id": "a0", "text": "Meanwhile."},))
    kept = (count(engine, suggestions), count(engine, query_events), entries(engine, limit=1))
    rerun = (outdated, suggest_on(outdated.request, "acuity"))
    with pytest.raises(RerunOutdatedError, match="send this one again"):
        answer_query(engine, second, AMENDED, **by, settings=undrawn, rerun=rerun)
    assert (count(engine, suggestions), count(engine, query_events), entries(engine, limit=1)) == kept
    assert answer(second, notes=(ADDENDUM,), key="k1").life.state == QueryState.ANSWERED


def test_a_write_that_fails_leaves_nothing(
    engine: Engine, people: People, sent: str, suggest_on: Maker, undrawn: FeedbackSettings
) -> None:
    by: dict[str, Any] = {"idempotency_key": "k1", "principal": people["coder"]}
    amended = request_for_answer(engine, sent, AMENDED, **by)
    assert amended is not None
    made: Suggestion = suggest_on(amended.request, "laterality")
    # Its query's id is taken, which shows only after the suggestion was written.
    faulty = made.model_copy(update={"queries": (made.queries[0].model_copy(update={"query_id": sent}),)})
    with pytest.raises(IntegrityError):
        answer_query(engine, sent, AMENDED, **by, settings=undrawn, rerun=(amended, faulty))
    assert life_of(engine, sent, people["coder"]).state == QueryState.SENT
    assert count(engine, suggestions) == 1
    assert verify(engine).is_whole
    kept = answer_query(engine, sent, AMENDED, **by, settings=undrawn, rerun=(amended, made))
    assert kept.life.new_suggestion_id == made.suggestion_id


def test_the_same_answer_again_is_stored_once(engine: Engine, people: People, sent: str, answer: Maker) -> None:
    first = answer(sent, notes=(ADDENDUM,), key="k1")
    assert not first.is_repeated
    by: dict[str, Any] = {"idempotency_key": "k1", "principal": people["coder"]}
    assert request_for_answer(engine, sent, AMENDED, **by) is None
    again = answer(sent, notes=(ADDENDUM,), key="k1")
    assert (again.life, again.is_repeated) == (first.life, True)
    close_query(engine, sent, reason=CloseReason.RESOLVED, principal=people["coder"])
    assert answer(sent, notes=(ADDENDUM,), key="k1").life.new_suggestion_id == first.life.new_suggestion_id
    assert count(engine, suggestions) == 2
    with pytest.raises(ConflictError, match="the idempotency key was used for another answer"):
        answer(sent, option=1, key="k1")
    with pytest.raises(ConflictError, match="is closed since"):
        answer(sent, notes=(ADDENDUM,), key="k2")


def test_a_key_is_of_one_principal_and_one_query(engine: Engine, people: People, ask: Maker, answer: Maker) -> None:
    first, second = (ask().queries[0].query_id for _ in range(2))
    for query_id in (first, second):
        send_query(engine, query_id, principal=people["coder"])
    answer(first, key="k1")
    with pytest.raises(ConflictError, match=f"to query {first}"):
        answer(second, key="k1")
    assert answer(second, key="k1", who="service").life.state == QueryState.ANSWERED


def test_malformed_keys_are_told(engine: Engine, people: People, sent: str, undrawn: FeedbackSettings) -> None:
    for key in ("", "x" * 129, "a\0b", "a\nb"):
        by: dict[str, Any] = {"idempotency_key": key, "principal": people["coder"]}
        with pytest.raises(InvalidError, match=f"idempotency key of {len(key)} characters is malformed"):
            request_for_answer(engine, sent, AMENDED, **by)
        with pytest.raises(InvalidError, match="is malformed"):
            answer_query(engine, sent, AMENDED, **by, settings=undrawn)


MISFITS = [
    ("multiple-choice", 4, "option 4 is none of the query's; expected 0 to 3"),
    ("multiple-choice", None, "option is missing; give the place of one of the 4 options, from 0"),
    ("open-ended", 0, "option must be left out"),
]


def test_an_answer_fits_its_question(engine: Engine, people: People, ask: Maker, answer: Maker) -> None:
    for form, option, message in MISFITS:
        query_id = ask(form=form).queries[0].query_id
        send_query(engine, query_id, principal=people["coder"])
        with pytest.raises(InvalidError, match=message):
            answer(query_id, option=option)
        assert answer(query_id, option=None if form == "open-ended" else 2).life.state == QueryState.ANSWERED


def test_notes_that_say_nothing_new_are_told(
    engine: Engine, sent: str, answer: Maker, sample_request: SuggestionRequest
) -> None:
    note = sample_request.notes[0]
    with pytest.raises(InvalidError, match="notes say what the documentation says already") as caught:
        answer(sent, notes=({"note_id": note.note_id, "text": note.text},))
    assert note.text[:12] not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"documentation_amended": True}, "notes must be given when documentation_amended is true"),
        ({"documentation_amended": False, "notes": [ADDENDUM]}, "and only then"),
        ({"documentation_amended": True, "notes": [ADDENDUM, ADDENDUM]}, "distinct note_id"),
        ({"documentation_amended": False, "option": -1}, "greater than or equal to 0"),
        ({"option": 1}, "Field required"),
    ],
)
def test_an_answer_is_whole(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QueryAnswer.model_validate(fields)


def test_an_answer_needs_the_notes_of_the_whole_line(engine: Engine, people: People, ask: Maker, answer: Maker) -> None:
    made: Suggestion = ask("heart-failure-type", "laterality")
    first, second = (query.query_id for query in made.queries)
    for query_id in (first, second):
        send_query(engine, query_id, principal=people["coder"])
    answer(first, notes=(ADDENDUM,))
    purge(engine, before=datetime.now(UTC), principal=people["admin"])
    with pytest.raises(PurgedError):
        answer(second, notes=({"note_id": "a9", "text": "More."},))
    with pytest.raises(PurgedError):
        show_query(engine, second, principal=people["coder"])


def test_what_no_coder_will_see_is_drawn_for_audit(
    engine: Engine, sent: str, answer: Maker, drawn: FeedbackSettings
) -> None:
    life = answer(sent, notes=(ADDENDUM,), route="autonomous", settings=drawn).life
    with engine.connect() as connection:
        assert connection.scalars(select(audit_draws.c.suggestion_id)).all() == [life.new_suggestion_id]


def test_of_many_who_answer_at_once_one_does(engine: Engine, people: People, sent: str, answer: Maker) -> None:
    who = ["coder", "supervisor", "service"] * 4

    def try_to(number: int) -> str:
        try:
            return str(answer(sent, notes=(ADDENDUM,), who=who[number], key=f"k{number}").life.new_suggestion_id)
        except FeedbackError as error:
            assert isinstance(error, ConflictError)
            return "conflict"

    with ThreadPoolExecutor(len(who)) as pool:
        outcomes = list(pool.map(try_to, range(len(who))))
    (winner,) = set(outcomes) - {"conflict"}
    assert outcomes.count(winner) == 1
    assert life_of(engine, sent, people["coder"]).new_suggestion_id == winner
    assert count(engine, suggestions) == 2


def test_answers_to_many_queries_of_one_encounter_form_one_line(
    engine: Engine, people: People, ask: Maker, answer: Maker
) -> None:
    made: Suggestion = ask(*(f"topic-{number}" for number in range(6)))
    for query in made.queries:
        send_query(engine, query.query_id, principal=people["coder"])

    def until_stored(number: int) -> str:
        while True:
            try:
                note = {"note_id": f"a{number}", "text": f"Addendum {number}."}
                return str(
                    answer(made.queries[number].query_id, notes=(note,), key=f"k{number}").life.new_suggestion_id
                )
            except RerunOutdatedError:
                continue

    with ThreadPoolExecutor(6) as pool:
        made_anew = list(pool.map(until_stored, range(6)))
    with engine.connect() as connection:
        last = newest(connection, made.suggestion_id)
    assert last in made_anew and len(set(made_anew)) == 6
    request = stored(engine, last).request
    assert request is not None
    assert {f"a{number}" for number in range(6)} <= {note.note_id for note in request.notes}


# Kills itself while it writes, some milliseconds after an answer was acknowledged.
WRITER = """
import os, signal, sys, threading
from pathlib import Path
from clinical_coding.artefact import new_id
from clinical_coding.suggestions import Suggestion
from feedback.query_answers import answer_query, request_for_answer
from feedback.query_life import QueryAnswer
from feedback.settings import load_feedback
from ledger.engine import open_engine
from ledger.principals import authenticate
url, key, config, *ids = sys.argv[1:]
engine, said = open_engine(url), QueryAnswer.model_validate_json(sys.stdin.readline())
made, settings = Suggestion.model_validate_json(sys.stdin.readline()), load_feedback(Path(config))
by = {"principal": authenticate(engine, key)}
for number, query_id in enumerate(ids):
    if number == 8:
        threading.Timer(0.007, os.kill, (os.getpid(), signal.SIGKILL)).start()
    amended = request_for_answer(engine, query_id, said, idempotency_key=query_id, **by)
    queries = [made.queries[0].model_copy(update={"query_id": new_id()})]
    again = made.model_copy(update={"suggestion_id": new_id(), "queries": tuple(queries)})
    answer_query(engine, query_id, said, idempotency_key=query_id, **by, settings=settings, rerun=(amended, again))
    print(query_id, again.suggestion_id, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(
    engine: Engine, people: People, ask: Maker, suggest_on: Maker, sample_request: SuggestionRequest
) -> None:
    ids = [send_query(engine, ask().queries[0].query_id, principal=people["coder"]).query_id for _ in range(40)]
    key = create_key(engine, role="service", name="ehr")
    config = Path(__file__).parents[3] / "configs" / "feedback.yaml"
    url = engine.url.render_as_string(hide_password=False)
    made: Suggestion = suggest_on(sample_request, "laterality")
    done = subprocess.run(
        [sys.executable, "-c", WRITER, url, key, str(config), *ids],
        input=f"{AMENDED.model_dump_json()}\n{made.model_dump_json()}\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    told = [line.split() for line in done.stdout.splitlines(keepends=True) if line.endswith("\n")]
    assert len(told) >= 8
    lives = {life.query_id: life for life in list_queries(engine, principal=people["admin"], limit=200).queries}
    assert all(lives[query_id].new_suggestion_id == suggestion_id for query_id, suggestion_id in told)
    answered = [life for life in lives.values() if life.state == QueryState.ANSWERED]
    assert len(told) <= len(answered) < len(ids)
    # An answer is there with its suggestion and that one's query, or not at all.
    assert count(engine, suggestions) == len(ids) + len(answered)
    assert count(engine, physician_queries) == len(ids) + len(answered)
    assert all(stored(engine, life.new_suggestion_id or "").suggestion is not None for life in answered)
    assert verify(engine).is_whole
