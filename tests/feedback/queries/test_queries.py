"""Queries from draft to close: who sees and moves what, and that nothing goes back."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from clinical_coding.artefact import sha256_of_json
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.errors import ConflictError, FeedbackError, ForbiddenError, InvalidError, NotFoundError
from feedback.keeping import keep_suggestion
from feedback.queries import close_query, list_queries, send_query, show_query
from feedback.query_life import CloseReason, PurgedError, QueryLife, QueryState
from feedback.query_tables import physician_queries, query_events
from feedback.settings import FeedbackSettings
from ledger.audit_log import audit_log, entries
from ledger.audit_verify import verify
from ledger.engine import writing
from ledger.group_commit import write
from ledger.principals import Principal
from ledger.retention import purge

Maker = Callable[..., Any]
People = Mapping[str, Principal]
PATH = list(QueryState)
WITHDRAWN, NO_ANSWER, RESOLVED = CloseReason.WITHDRAWN, CloseReason.NO_ANSWER, CloseReason.RESOLVED


def listed(engine: Engine, principal: Principal, **which: Any) -> list[str]:
    return [life.query_id for life in list_queries(engine, principal=principal, **which).queries]


@pytest.fixture
def bring(engine: Engine, people: People, ask: Maker, answer: Maker) -> Maker:
    """Make a query in a state: ``bring("answered")``."""

    def make(state: str) -> str:
        query_id: str = ask().queries[0].query_id
        if state != "drafted":
            send_query(engine, query_id, principal=people["coder"])
        if state in ("answered", "closed"):
            answer(query_id)
        if state == "closed":
            close_query(engine, query_id, reason=RESOLVED, principal=people["coder"])
        return query_id

    return make


def test_a_query_is_drafted_with_its_suggestion(engine: Engine, people: People, ask: Maker) -> None:
    made = ask("laterality", "heart-failure-type")
    page = list_queries(engine, principal=people["coder"], suggestion_id=made.suggestion_id)
    lives = {life.query_id: life for life in page.queries}
    assert lives.keys() == {query.query_id for query in made.queries}
    for query in made.queries:
        life = lives[query.query_id]
        assert (life.state, life.events, life.topic) == (QueryState.DRAFTED, (), query.topic)
        assert (life.suggestion_id, life.new_suggestion_id) == (made.suggestion_id, None)
        (entry,) = entries(engine, subject=f"query:{query.query_id}", limit=9)
        assert (entry["action"], entry["principal"]) == ("query-drafted", "coder")
        assert entry["details"] == {
            "suggestion_id": made.suggestion_id,
            "topic": query.topic,
            "content_sha256": sha256_of_json(query.model_dump(mode="json")),
        }


def test_a_suggestion_that_is_not_stored_drafts_nothing(
    engine: Engine, people: People, undrawn: FeedbackSettings, sample_request: SuggestionRequest, suggest_on: Maker
) -> None:
    made = suggest_on(sample_request, "laterality")

    def work(connection: Any) -> None:
        keep_suggestion(connection, sample_request, made, principal=people["coder"], settings=undrawn)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(engine, work)
    assert listed(engine, people["supervisor"]) == []


def test_a_life_is_told_in_order(engine: Engine, people: People, sent: str, answer: Maker) -> None:
    answer(sent, who="service", option=3)
    life = close_query(engine, sent, reason=RESOLVED, principal=people["supervisor"])
    assert [event.state for event in life.events] == [QueryState.SENT, QueryState.ANSWERED, QueryState.CLOSED]
    assert [event.principal_id for event in life.events] == [
        people[who].id for who in ("coder", "service", "supervisor")
    ]
    assert life.drafted_at <= life.events[0].at <= life.events[1].at <= life.events[2].at
    assert [(event.option, event.documentation_amended, event.reason) for event in life.events] == [
        (None, None, None),
        (3, False, None),
        (None, None, RESOLVED),
    ]
    logged = entries(engine, subject=f"query:{sent}", limit=9)[::-1]
    assert [entry["action"] for entry in logged] == ["query-drafted", "query-sent", "query-answered", "query-closed"]
    assert (logged[2]["details"]["option"], logged[3]["details"]["reason"]) == (3, "resolved")
    assert verify(engine).is_whole


def test_a_view_parts_what_the_physician_sees_from_codes(engine: Engine, people: People, ask: Maker) -> None:
    (query,) = ask().queries
    view = show_query(engine, query.query_id, principal=people["coder"])
    assert (view.codes, view.source) == (query.codes, query.source)
    shown = view.physician_view
    assert (shown.title, shown.question, shown.options) == (query.title, query.question, query.options)
    assert shown.indicators == query.indicators
    assert "I50" not in shown.model_dump_json() and "Guideline" not in shown.model_dump_json()


MOVES: dict[str, Maker] = {
    "send": lambda engine, query_id, who, answer: send_query(engine, query_id, principal=who),
    "answer": lambda engine, query_id, who, answer: answer(query_id, who=who.name),
    "withdraw": lambda engine, query_id, who, answer: close_query(engine, query_id, reason=WITHDRAWN, principal=who),
    "no answer": lambda engine, query_id, who, answer: close_query(engine, query_id, reason=NO_ANSWER, principal=who),
    "resolve": lambda engine, query_id, who, answer: close_query(engine, query_id, reason=RESOLVED, principal=who),
}
LEGAL = {
    "drafted": {"send", "withdraw"},
    "sent": {"answer", "withdraw", "no answer"},
    "answered": {"resolve"},
    "closed": set[str](),
}


def test_only_what_follows_is_taken(engine: Engine, people: People, bring: Maker, answer: Maker) -> None:
    for state, move in product(LEGAL, MOVES):
        query_id = bring(state)
        if move in LEGAL[state]:
            MOVES[move](engine, query_id, people["supervisor"], answer)
            reached = show_query(engine, query_id, principal=people["admin"]).state
            assert PATH.index(reached) > PATH.index(QueryState(state)), (state, move)
            continue
        with pytest.raises(ConflictError, match=f"query {query_id} is {state}") as caught:
            MOVES[move](engine, query_id, people["supervisor"], answer)
        assert "what may follow is" in str(caught.value) or "close it with" in str(caught.value)
        assert show_query(engine, query_id, principal=people["admin"]).state == state, (state, move)


def test_superseded_is_said_by_the_product_alone(engine: Engine, people: People, query_id: str) -> None:
    with pytest.raises(ConflictError, match="close it with withdrawn"):
        close_query(engine, query_id, reason=CloseReason.SUPERSEDED, principal=people["coder"])


def test_who_may_move_a_query_on(engine: Engine, people: People, bring: Maker, answer: Maker) -> None:
    for who in ("coder", "service", "supervisor", "reviewer", "admin"):
        for move in ("send", "withdraw", "answer"):
            query_id = bring("sent" if move == "answer" else "drafted")
            if who not in ("reviewer", "admin"):
                MOVES[move](engine, query_id, people[who], answer)
                continue
            with pytest.raises(ForbiddenError, match=f"role {who} may not .* use a key of role coder, supervisor"):
                MOVES[move](engine, query_id, people[who], answer)


def test_a_coder_sees_own_queries_alone(engine: Engine, people: People, query_id: str, ask: Maker) -> None:
    other = ask(who="other-coder").queries[0].query_id
    assert listed(engine, people["coder"]) == [query_id]
    assert listed(engine, people["other-coder"]) == [other]
    for who in ("service", "supervisor", "admin"):
        assert listed(engine, people[who]) == [query_id, other]
        assert show_query(engine, other, principal=people[who]).query_id == other
    for action in (show_query, send_query):
        with pytest.raises(NotFoundError, match="no query of yours"):
            action(engine, other, principal=people["coder"])
    with pytest.raises(NotFoundError):
        close_query(engine, other, reason=WITHDRAWN, principal=people["coder"])
    for look in (list_queries, lambda engine, principal: show_query(engine, query_id, principal=principal)):
        with pytest.raises(ForbiddenError, match="role reviewer may not see queries"):
            look(engine, principal=people["reviewer"])


def test_the_manual_route_withholds_queries(engine: Engine, people: People, ask: Maker, decide: Maker) -> None:
    made = ask(route="manual")
    query_id = made.queries[0].query_id
    readers = ("coder", "service", "supervisor", "admin")
    assert {who: listed(engine, people[who]) for who in readers} == {who: [] for who in readers}
    for who in readers:
        with pytest.raises(NotFoundError):
            show_query(engine, query_id, principal=people[who])
    for who in ("coder", "service"):
        with pytest.raises(NotFoundError):
            send_query(engine, query_id, principal=people[who])
    decide(made.suggestion_id, outcome="deferred")
    assert listed(engine, people["supervisor"]) == []
    decide(made.suggestion_id)
    assert {who: len(listed(engine, people[who])) for who in readers} == {
        "coder": 0, "service": 0, "supervisor": 1, "admin": 1,
    }  # fmt: skip


def test_queries_are_listed_by_state_and_page(engine: Engine, people: People, bring: Maker) -> None:
    made = {state: [bring(state) for _ in range(2)] for state in LEGAL}
    everything = [query_id for ids in made.values() for query_id in ids]
    assert listed(engine, people["coder"]) == everything
    for state, ids in made.items():
        assert listed(engine, people["coder"], state=QueryState(state)) == ids
    seen: list[str] = []
    after = None
    while True:
        page = list_queries(engine, principal=people["service"], after=after, limit=3)
        seen += [life.query_id for life in page.queries]
        after = page.next_after
        if after is None:
            break
    assert seen == everything
    assert listed(engine, people["coder"], suggestion_id="unknown") == []
    assert listed(engine, people["coder"], suggestion_id="\0") == []
    for limit in (0, 201):
        with pytest.raises(InvalidError, match=f"limit {limit} is out of range"):
            list_queries(engine, principal=people["coder"], limit=limit)
    with pytest.raises(NotFoundError):
        list_queries(engine, principal=people["coder"], after="unknown")


def test_unknown_ids_are_told(engine: Engine, people: People) -> None:
    for unknown in ("nothing", "\0", "é", "x" * 2_000):
        with pytest.raises(NotFoundError, match="no query is stored under this id") as caught:
            show_query(engine, unknown, principal=people["admin"])
        assert unknown not in str(caught.value)


def test_purged_words_are_told_and_the_life_stays(engine: Engine, people: People, bring: Maker, answer: Maker) -> None:
    drafted, sent = bring("drafted"), bring("sent")
    assert purge(engine, before=datetime.now(UTC), principal=people["admin"]).num_purged == 2
    for action in (show_query, send_query):
        with pytest.raises(PurgedError, match="were purged"):
            action(engine, drafted, principal=people["coder"])
    with pytest.raises(PurgedError):
        answer(sent)
    assert listed(engine, people["coder"]) == [drafted, sent]
    life = close_query(engine, sent, reason=NO_ANSWER, principal=people["coder"])
    assert life.state == QueryState.CLOSED
    assert verify(engine).is_whole


def test_no_word_of_a_query_leaves_the_contents(
    engine: Engine, people: People, sent: str, answer: Maker, sample_request: SuggestionRequest
) -> None:
    answer(sent, "laterality", notes=({"note_id": "n9", "text": "Zebrafinch addendum."},))
    close_query(engine, sent, reason=RESOLVED, principal=people["coder"])
    told = ""
    with engine.connect() as connection:
        for table in (physician_queries, query_events, audit_log):
            told += " ".join(str(value) for row in connection.execute(select(table)) for value in row)
    words = ("Clarifytitle", "Canyouspecify", "Systolic", "Zebrafinch", sample_request.notes[0].text[:12])
    assert not [word for word in words if word in told]


def test_the_same_said_again_is_written_once(engine: Engine, people: People, query_id: str) -> None:
    first = send_query(engine, query_id, principal=people["coder"])
    assert send_query(engine, query_id, principal=people["coder"]) == first
    with pytest.raises(ConflictError, match="is sent since"):
        send_query(engine, query_id, principal=people["service"])
    closed = close_query(engine, query_id, reason=NO_ANSWER, principal=people["coder"])
    assert close_query(engine, query_id, reason=NO_ANSWER, principal=people["coder"]) == closed
    assert send_query(engine, query_id, principal=people["coder"]) == closed
    with pytest.raises(ConflictError, match="closing is final"):
        close_query(engine, query_id, reason=WITHDRAWN, principal=people["coder"])
    assert len(entries(engine, subject=f"query:{query_id}", limit=9)) == 3


def test_of_many_who_send_at_once_one_does(engine: Engine, people: People, query_id: str) -> None:
    who = [people[name] for name in ("coder", "supervisor", "other-supervisor", "service") * 3]

    def send(principal: Principal) -> str:
        try:
            return send_query(engine, query_id, principal=principal).events[0].principal_id
        except ConflictError:
            return "conflict"

    with ThreadPoolExecutor(len(who)) as pool:
        outcomes = list(pool.map(send, who))
    (winner,) = set(outcomes) - {"conflict"}
    assert [outcome == winner for outcome in outcomes] == [principal.id == winner for principal in who]
    assert [entry["action"] for entry in entries(engine, subject=f"query:{query_id}", limit=9)] == [
        "query-sent",
        "query-drafted",
    ]


STEPS_BACK = [
    ([], "answered"),
    (["sent"], "sent"),
    (["sent", "answered"], "sent"),
    (["sent", "answered"], "answered"),
    (["closed"], "sent"),
    (["closed"], "answered"),
    (["sent", "closed"], "answered"),
    (["sent", "answered", "closed"], "closed"),
]


def test_the_database_itself_takes_no_step_back(engine: Engine, people: People, ask: Maker) -> None:
    for there, wrong in STEPS_BACK:
        row = {"query_id": ask().queries[0].query_id, "at": datetime.now(UTC), "principal_id": people["coder"].id}
        with writing(engine) as connection:
            for state in there:
                connection.execute(insert(query_events).values(**row, state=state))
        with pytest.raises(IntegrityError, match="takes only a state that follows"), writing(engine) as connection:
            connection.execute(insert(query_events).values(**row, state=wrong))


def test_rows_stay_as_they_are(engine: Engine, sent: str) -> None:
    for table in (physician_queries, query_events):
        changes: list[Any] = [delete(table), *(update(table).values({c.name: c}) for c in table.columns)]
        if engine.dialect.name == "sqlite":
            names = ", ".join(f'"{column.name}"' for column in table.columns)
            changes.append(text(f"INSERT OR REPLACE INTO {table.name} ({names}) SELECT {names} FROM {table.name}"))
        for change in changes:
            with pytest.raises(IntegrityError, match=r"append-only|takes only"), writing(engine) as connection:
                connection.execute(change)


@given(moves=st.lists(st.tuples(st.sampled_from(sorted(MOVES)), st.sampled_from(["coder", "service"])), max_size=8))
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_events_only_grow_and_states_only_advance(
    engine: Engine, people: People, ask: Maker, answer: Maker, moves: list[tuple[str, str]]
) -> None:
    query_id = ask().queries[0].query_id
    before: QueryLife = show_query(engine, query_id, principal=people["admin"])
    for move, who in moves:
        try:
            MOVES[move](engine, query_id, people[who], answer)
        except FeedbackError as error:
            assert isinstance(error, ConflictError)
        after = show_query(engine, query_id, principal=people["admin"])
        assert after.events[: len(before.events)] == before.events
        assert PATH.index(after.state) >= PATH.index(before.state)
        assert after.state == (after.events[-1].state if after.events else QueryState.DRAFTED)
        before = after
    assert len(entries(engine, subject=f"query:{query_id}", limit=9)) == 1 + len(before.events)


def test_the_order_of_a_list_is_stable(engine: Engine, people: People, ask: Maker) -> None:
    made: list[Suggestion] = [ask("laterality", "acuity") for _ in range(3)]
    first = listed(engine, people["coder"])
    assert first == listed(engine, people["coder"]) and len(set(first)) == 6
    assert [life.suggestion_id for life in list_queries(engine, principal=people["coder"]).queries] == [
        suggestion.suggestion_id for suggestion in made for _ in range(2)
    ]
