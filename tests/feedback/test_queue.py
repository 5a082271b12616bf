"""The queue: order, claims that exclude each other and end, own cases that are never offered."""

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, text, update

from clinical_coding.code_systems import CodeSystems
from clinical_coding.suggestions import Suggestion
from feedback.errors import ClaimError, ConflictError, ForbiddenError, InvalidError, NotFoundError
from feedback.queue import claim, list_cases, next_case, release, show
from feedback.settings import FeedbackSettings
from feedback.tables import cases
from ledger.audit_log import audit_log
from ledger.engine import writing
from ledger.principals import Principal
from ledger.suggestions import suggestion_contents

SYSTEMS = CodeSystems.embedded()

People = Mapping[str, Principal]
Maker = Callable[..., Any]
REJECT = ("reject", "icd10cm:R07.9", "integral-symptom")
MODIFY = ("modify", "icd10cm:E11.9", "E11.65", "more-specific-code-documented")
ADD = ("add", "icd10cm:J45.909", "missed-documentation")


def end_claim(engine: Engine, case_id: str) -> None:
    """Let a claim's time pass."""
    with writing(engine) as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(cases).where(cases.c.id == case_id).values(claimed_until=past))


def logged(engine: Engine, action: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(audit_log.c.entry).where(audit_log.c.action == action).order_by(audit_log.c.seq)
        )
        return [json.loads(row.entry) for row in rows]


def test_the_lowest_priority_then_the_oldest_is_offered_first(
    engine: Engine, people: People, override: Maker, audit: Maker, feedback_settings: FeedbackSettings
) -> None:
    older, newer = override(), override(MODIFY)
    drawn_id = audit()
    offered = []
    for who in ("supervisor", "other-supervisor", "supervisor"):
        case = next_case(engine, principal=people[who], settings=feedback_settings, systems=SYSTEMS)
        assert case is not None
        assert (case.is_yours, case.is_open, case.adjudication_id) == (True, True, None)
        offered.append(case.case_id)
        if who == "supervisor":
            with writing(engine) as connection:
                connection.execute(update(cases).where(cases.c.id == case.case_id).values(state="closed"))
    assert offered == [drawn_id, older, newer]
    assert next_case(engine, principal=people["supervisor"], settings=feedback_settings, systems=SYSTEMS) is None


def test_next_gives_the_case_that_one_holds_until_it_is_released(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    override(), override()
    supervisor = people["supervisor"]
    first = next_case(engine, principal=supervisor, settings=feedback_settings, systems=SYSTEMS)
    again = next_case(engine, principal=supervisor, settings=feedback_settings, systems=SYSTEMS)
    assert first is not None and again is not None
    assert again.case_id == first.case_id
    assert again.claimed_until is not None and first.claimed_until is not None
    assert again.claimed_until >= first.claimed_until
    other = next_case(engine, principal=people["other-supervisor"], settings=feedback_settings, systems=SYSTEMS)
    assert other is not None and other.case_id != first.case_id
    release(engine, first.case_id, principal=supervisor)
    release(engine, first.case_id, principal=supervisor)
    assert not show(engine, first.case_id, principal=supervisor, systems=SYSTEMS).is_yours
    assert len(logged(engine, "case-released")) == 1


def test_supervisors_who_ask_at_once_never_get_the_same_case(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    made = {override() for _ in range(5)}
    pair = [people["supervisor"], people["other-supervisor"]]
    taken: list[str] = []
    barrier = threading.Barrier(len(pair))

    def take(principal: Principal) -> None:
        barrier.wait()
        while (case := next_case(engine, principal=principal, settings=feedback_settings, systems=SYSTEMS)) is not None:
            taken.append(case.case_id)
            with writing(engine) as connection:
                connection.execute(update(cases).where(cases.c.id == case.case_id).values(state="closed"))

    threads = [threading.Thread(target=take, args=(principal,)) for principal in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(taken) == sorted(made)


def test_a_race_for_one_case_has_one_winner(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    case_id = override()
    pair = [people["supervisor"], people["other-supervisor"]]
    outcomes: list[object] = []
    barrier = threading.Barrier(len(pair))

    def take(principal: Principal) -> None:
        barrier.wait()
        try:
            outcomes.append(claim(engine, case_id, principal=principal, settings=feedback_settings, systems=SYSTEMS))
        except ClaimError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=take, args=(principal,)) for principal in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(isinstance(outcome, ClaimError) for outcome in outcomes) == [False, True]


def test_a_claim_that_ended_is_free_to_others(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    case_id = override()
    claim(engine, case_id, principal=people["supervisor"], settings=feedback_settings, systems=SYSTEMS)
    with pytest.raises(ClaimError, match="another supervisor"):
        claim(engine, case_id, principal=people["other-supervisor"], settings=feedback_settings, systems=SYSTEMS)
    with pytest.raises(ClaimError, match="only its holder"):
        release(engine, case_id, principal=people["other-supervisor"])
    end_claim(engine, case_id)
    case = next_case(engine, principal=people["other-supervisor"], settings=feedback_settings, systems=SYSTEMS)
    assert case is not None and case.case_id == case_id
    with pytest.raises(ClaimError):
        claim(engine, case_id, principal=people["supervisor"], settings=feedback_settings, systems=SYSTEMS)


def test_a_claim_lasts_as_long_as_the_settings_say(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    settings = feedback_settings.model_copy(update={"claim_minutes": 7.0})
    view = claim(engine, override(), principal=people["supervisor"], settings=settings, systems=SYSTEMS)
    assert view.claimed_until is not None
    assert abs((view.claimed_until - datetime.now(UTC)).total_seconds() - 7 * 60) < 60


def test_own_cases_are_not_offered_shown_or_claimed(
    engine: Engine, people: People, override: Maker, audit: Maker, feedback_settings: FeedbackSettings
) -> None:
    supervisor = people["supervisor"]
    own = [override(who="supervisor"), audit(who="supervisor")]
    assert next_case(engine, principal=supervisor, settings=feedback_settings, systems=SYSTEMS) is None
    page = list_cases(engine, principal=supervisor)
    assert (page.cases, page.num_open) == ((), 2)
    for case_id in own:
        with pytest.raises(ForbiddenError, match="your own"):
            show(engine, case_id, principal=supervisor, systems=SYSTEMS)
        with pytest.raises(ForbiddenError, match="your own"):
            claim(engine, case_id, principal=supervisor, settings=feedback_settings, systems=SYSTEMS)
        with pytest.raises(ForbiddenError, match="your own"):
            release(engine, case_id, principal=supervisor)
    assert not logged(engine, "case-shown")
    assert {case.case_id for case in list_cases(engine, principal=people["other-supervisor"]).cases} == set(own)


@pytest.mark.parametrize("who", ["coder", "service", "reviewer", "admin"])
def test_only_supervisors_reach_the_queue(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings, who: str
) -> None:
    case_id, principal = override(), people[who]
    for attempt in (
        lambda: list_cases(engine, principal=principal),
        lambda: next_case(engine, principal=principal, settings=feedback_settings, systems=SYSTEMS),
        lambda: claim(engine, case_id, principal=principal, settings=feedback_settings, systems=SYSTEMS),
        lambda: release(engine, case_id, principal=principal),
        lambda: show(engine, case_id, principal=principal, systems=SYSTEMS),
        lambda: show(engine, "unknown", principal=principal, systems=SYSTEMS),
    ):
        with pytest.raises(ForbiddenError, match="keys create --role supervisor"):
            attempt()


@pytest.mark.parametrize("case_id", ["", "unknown", "x" * 500, "nul\x00", "\ud800", "Ü"])
def test_an_unknown_case_is_told(
    engine: Engine, people: People, feedback_settings: FeedbackSettings, case_id: str
) -> None:
    supervisor = people["supervisor"]
    for attempt in (
        lambda: claim(engine, case_id, principal=supervisor, settings=feedback_settings, systems=SYSTEMS),
        lambda: release(engine, case_id, principal=supervisor),
        lambda: show(engine, case_id, principal=supervisor, systems=SYSTEMS),
        lambda: list_cases(engine, principal=supervisor, after=case_id),
    ):
        with pytest.raises(NotFoundError, match="no case is stored"):
            attempt()


def test_a_closed_case_cannot_be_claimed_or_released_but_seen(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    case_id = override()
    with writing(engine) as connection:
        connection.execute(update(cases).where(cases.c.id == case_id).values(state="closed"))
    with pytest.raises(ConflictError, match="closed"):
        claim(engine, case_id, principal=people["supervisor"], settings=feedback_settings, systems=SYSTEMS)
    with pytest.raises(ConflictError, match="closed"):
        release(engine, case_id, principal=people["supervisor"])
    assert not show(engine, case_id, principal=people["supervisor"], systems=SYSTEMS).is_open


def test_a_case_without_its_notes_is_passed_over(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    case_id, other = override(), override()
    with writing(engine) as connection:
        suggestion_id = connection.scalar(select(cases.c.suggestion_id).where(cases.c.id == case_id))
        connection.execute(delete(suggestion_contents).where(suggestion_contents.c.suggestion_id == suggestion_id))
    supervisor = people["supervisor"]
    assert [case.case_id for case in list_cases(engine, principal=supervisor).cases] == [other]
    for attempt in (
        lambda: claim(engine, case_id, principal=supervisor, settings=feedback_settings, systems=SYSTEMS),
        lambda: show(engine, case_id, principal=supervisor, systems=SYSTEMS),
    ):
        with pytest.raises(ConflictError, match="purged"):
            attempt()
    case = next_case(engine, principal=supervisor, settings=feedback_settings, systems=SYSTEMS)
    assert case is not None and case.case_id == other


def test_pages_cover_the_queue_once_and_in_order(engine: Engine, people: People, override: Maker, audit: Maker) -> None:
    overrides = [override(who="coder") for _ in range(3)]
    audits = [audit() for _ in range(2)]
    own = override(who="supervisor")
    seen: list[str] = []
    after = None
    while True:
        page = list_cases(engine, principal=people["supervisor"], limit=2, after=after)
        seen += [case.case_id for case in page.cases]
        after = page.next_after
        if after is None:
            break
        # A case that was closed in between still marks its place.
        with writing(engine) as connection:
            connection.execute(update(cases).where(cases.c.id == after).values(state="closed"))
    assert seen == [*audits, *overrides]
    assert own not in seen


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_a_page_has_a_bound(engine: Engine, people: People, limit: int) -> None:
    with pytest.raises(InvalidError, match="1 to 200"):
        list_cases(engine, principal=people["supervisor"], limit=limit)


def test_a_summary_tells_what_is_disputed_and_who_holds_it(
    engine: Engine, people: People, override: Maker, audit: Maker, feedback_settings: FeedbackSettings
) -> None:
    override(MODIFY), audit()
    case = next_case(engine, principal=people["supervisor"], settings=feedback_settings, systems=SYSTEMS)
    assert case is not None
    drawn_case, modified = list_cases(engine, principal=people["supervisor"]).cases
    assert (drawn_case.kind, drawn_case.action, drawn_case.code, drawn_case.is_yours) == ("audit", None, None, True)
    assert (modified.kind, modified.action, modified.code, modified.to) == ("override", "modify", "E11.9", "E11.65")
    assert (modified.reason, modified.claimed_until) == ("more-specific-code-documented", None)
    held, _ = list_cases(engine, principal=people["other-supervisor"]).cases
    assert held.claimed_until is not None and not held.is_yours


def test_a_view_holds_everything_that_a_verdict_needs(
    engine: Engine, people: People, suggestion: Suggestion, decide: Maker, sample_request: Any
) -> None:
    reject, modify, add = decide(suggestion.suggestion_id, REJECT, MODIFY, ADD).overrides
    view = show(engine, modify.override_id, principal=people["supervisor"], systems=SYSTEMS)
    assert (view.notes, view.encounter) == (sample_request.notes, sample_request.encounter)
    assert view.suggested == suggestion.codes
    assert view.answer is not None and view.answer.to is not None
    assert (view.answer.code.key, view.answer.to.key) == ("icd10cm:E11.9", "icd10cm:E11.65")
    assert view.answer.to.description == "Type 2 diabetes mellitus with hyperglycemia"
    assert (view.claimed_until, view.is_yours, view.final_codes) == (None, False, ())
    for override_id, action in ((reject.override_id, "reject"), (add.override_id, "add")):
        answer = show(engine, override_id, principal=people["supervisor"], systems=SYSTEMS).answer
        assert answer is not None and (answer.action, answer.to) == (action, None)
    assert people["coder"].id not in view.model_dump_json()


def test_an_audit_shows_what_stood(engine: Engine, people: People, audit: Maker, suggestion: Suggestion) -> None:
    view = show(engine, audit(), principal=people["supervisor"], systems=SYSTEMS)
    assert view.answer is None
    assert [code.key for code in view.final_codes] == [f"{code.system}:{code.code}" for code in suggestion.codes]


def test_the_audit_log_names_who_opened_a_case_and_no_text(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    case_id = override()
    view = show(engine, case_id, principal=people["other-supervisor"], systems=SYSTEMS)
    next_case(engine, principal=people["supervisor"], settings=feedback_settings, systems=SYSTEMS)
    (shown,), (claimed,) = logged(engine, "case-shown"), logged(engine, "case-claimed")
    assert (shown["principal"], shown["subject"]) == ("other-supervisor", f"case:{case_id}")
    assert (claimed["principal"], claimed["subject"]) == ("supervisor", f"case:{case_id}")
    assert claimed["details"].keys() == {"kind", "suggestion_id", "claimed_until"}
    with engine.connect() as connection:
        entries = " ".join(connection.execute(select(audit_log.c.entry)).scalars())
    assert not any(line in entries for note in view.notes for line in note.text.splitlines() if len(line) > 20)


def test_the_queue_walks_its_index(engine: Engine, people: People, override: Maker) -> None:
    override()
    query = "SELECT id FROM cases WHERE state = 'open' ORDER BY priority, opened_at, id LIMIT 1"
    held = "SELECT id FROM cases WHERE claimed_by = 'x' AND state = 'open'"
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            plans = [str(connection.execute(text(f"EXPLAIN QUERY PLAN {one}")).all()) for one in (query, held)]
        else:
            connection.execute(text("SET enable_seqscan = off"))
            plans = [str(connection.execute(text(f"EXPLAIN {one}")).all()) for one in (query, held)]
    assert "ix_cases_queue" in plans[0] and "SORT" not in plans[0].upper() and "TEMP" not in plans[0]
    assert "ix_cases_claimed_by" in plans[1]
