"""Verdicts: kept once, by whoever holds the case, with the codes that they teach."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.exc import DBAPIError

from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import Code, CodeState, split_key
from clinical_coding.decisions import Adjudication, Verdict
from clinical_coding.suggestions import Suggestion
from feedback.adjudication import adjudicate, adjudications_of, load_adjudication
from feedback.audit_draws import draw_autonomous
from feedback.errors import ClaimError, ConflictError, FeedbackError, ForbiddenError, InvalidError, NotFoundError
from feedback.queue import claim, list_cases, next_case, show
from feedback.settings import FeedbackSettings
from feedback.tables import adjudications, cases
from feedback.verdicts import AdjudicationRequest
from ledger.audit_log import audit_log
from ledger.engine import writing
from ledger.group_commit import write
from ledger.principals import Principal
from ledger.suggestions import suggestion_contents

SYSTEMS = CodeSystems.embedded()

People = Mapping[str, Principal]
Maker = Callable[..., Any]
MODIFY = ("modify", "icd10cm:E11.9", "E11.65", "more-specific-code-documented")
ADD = ("add", "icd10cm:J45.909", "missed-documentation")
CITATION = "ICD-10-CM guideline I.B.5"


@pytest.fixture
def judge(engine: Engine, people: People, feedback_settings: FeedbackSettings) -> Callable[..., Adjudication]:
    """Claim a case and give a verdict: ``judge(case_id, "both-wrong", "icd10cm:I10", who="supervisor")``."""

    def make(case_id: str, verdict: str, *keys: str, who: str = "supervisor", **more: Any) -> Adjudication:
        claim(engine, case_id, principal=people[who], settings=feedback_settings, systems=SYSTEMS)
        return adjudicate(engine, case_id, ask(verdict, *keys, **more), principal=people[who], systems=SYSTEMS)

    return make


def ask(verdict: str, *keys: str, citation: str = CITATION, **more: Any) -> AdjudicationRequest:
    codes = []
    for key in keys:
        system, code = split_key(key)
        codes.append(Code(system=system, code=code, **more))
    return AdjudicationRequest(verdict=Verdict(verdict), codes=tuple(codes) if keys else None, citation=citation)


def states(kept: Adjudication) -> dict[str, str]:
    return {code.key: code.state.value for code in kept.codes}


def test_a_verdict_is_kept_and_closes_its_case(engine: Engine, people: People, override: Maker, judge: Maker) -> None:
    case_id = override(MODIFY)
    kept = judge(case_id, "coder-right")
    assert (kept.override_id, kept.audit_draw_id, kept.round, kept.blinded) == (case_id, None, 1, False)
    assert (kept.verdict, kept.citation) == ("coder-right", CITATION)
    assert states(kept) == {"icd10cm:E11.65": "positive", "icd10cm:E11.9": "negative"}
    assert {code.provenance.adjudication_id for code in kept.codes} == {kept.adjudication_id}
    assert {code.release for code in kept.codes} == {"2026-04"}
    assert abs((datetime.now(UTC) - kept.adjudicated_at).total_seconds()) < 60
    view = show(engine, case_id, principal=people["supervisor"], systems=SYSTEMS)
    assert (view.is_open, view.is_yours, view.adjudication_id) == (False, False, kept.adjudication_id)
    assert load_adjudication(engine, kept.adjudication_id) == kept
    with engine.connect() as connection:
        assert adjudications_of(connection, view.suggestion_id) == (kept,)
        assert adjudications_of(connection, "another") == ()
    assert list_cases(engine, principal=people["supervisor"]).num_open == 0


def test_the_models_evidence_stays_with_a_code_that_it_suggested_rightly(
    suggestion: Suggestion, decide: Maker, judge: Maker
) -> None:
    modify, add = decide(suggestion.suggestion_id, MODIFY, ADD).overrides
    positive, negative = judge(modify.override_id, "ai-right").codes
    spans = [(span.note_id, span.start, span.end) for span in suggestion.codes[1].evidence]
    assert [(span.note_id, span.start, span.end) for span in positive.evidence] == spans
    assert (negative.key, negative.evidence) == ("icd10cm:E11.65", ())
    (added,) = judge(add.override_id, "coder-right").codes
    assert (added.key, added.state, added.evidence) == ("icd10cm:J45.909", CodeState.POSITIVE, ())


def test_both_wrong_teaches_the_codes_given(override: Maker, judge: Maker) -> None:
    kept = judge(override(MODIFY), "both-wrong", "icd10cm:E11.69", "cpt:99214")
    wrong = dict.fromkeys(["icd10cm:E11.65", "icd10cm:E11.9"], "negative")
    assert states(kept) == {"cpt:99214": "positive", "icd10cm:E11.69": "positive"} | wrong
    assert {code.key: code.release for code in kept.codes}["cpt:99214"] is None


def test_policy_unclear_teaches_nothing(override: Maker, judge: Maker) -> None:
    assert judge(override(), "policy-unclear").codes == ()
    with pytest.raises(InvalidError, match="left out for policy-unclear"):
        judge(override(), "policy-unclear", "icd10cm:R07.9")


def test_an_audit_is_judged_on_all_codes_that_stood(audit: Maker, judge: Maker, suggestion: Suggestion) -> None:
    final = {f"{code.system}:{code.code}" for code in suggestion.codes}
    first = judge(case_id := audit(), "ai-right")
    assert (first.override_id, first.audit_draw_id) == (None, case_id)
    assert states(first) == dict.fromkeys(final, "positive")
    assert all(code.evidence for code in first.codes)
    second = judge(audit(), "both-wrong", "icd10cm:I10", "icd10cm:E11.65")
    assert {key for key, state in states(second).items() if state == "positive"} == {"icd10cm:I10", "icd10cm:E11.65"}
    assert {key for key, state in states(second).items() if state == "negative"} == final - {"icd10cm:I10"}
    with pytest.raises(InvalidError, match="coder-right does not fit an audit"):
        judge(audit(), "coder-right")


def test_an_autonomous_suggestion_is_judged_as_the_model_left_it(
    engine: Engine,
    people: People,
    suggest: Maker,
    decide: Maker,
    drawn: FeedbackSettings,
    sample_request: Any,
    judge: Maker,
) -> None:
    made = suggest(route="autonomous", codes=("icd10cm:I10",))
    write(
        engine,
        lambda connection: draw_autonomous(
            connection, made, sample_request, principal=people["service"], settings=drawn
        ),
    )
    decide(made.suggestion_id, ADD)
    with engine.connect() as connection:
        case_id = connection.scalar(
            select(cases.c.id).where(cases.c.suggestion_id == made.suggestion_id, cases.c.kind == "audit")
        )
    assert states(judge(case_id, "ai-right")) == {"icd10cm:I10": "positive"}


def test_an_own_decision_is_not_judged(
    engine: Engine, people: People, override: Maker, judge: Maker, feedback_settings: FeedbackSettings
) -> None:
    case_id = override(who="supervisor")
    with pytest.raises(ForbiddenError, match="your own"):
        adjudicate(engine, case_id, ask("ai-right"), principal=people["supervisor"], systems=SYSTEMS)
    assert judge(case_id, "ai-right", who="other-supervisor").override_id == case_id


def test_whoever_decides_after_claiming_judges_no_more(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    case_id, supervisor = override(), people["supervisor"]
    claim(engine, case_id, principal=supervisor, settings=feedback_settings, systems=SYSTEMS)
    with writing(engine) as connection:
        connection.execute(update(cases).where(cases.c.id == case_id).values(coder_id=supervisor.id))
    with pytest.raises(ForbiddenError, match="your own"):
        adjudicate(engine, case_id, ask("ai-right"), principal=supervisor, systems=SYSTEMS)


@pytest.mark.parametrize("who", ["coder", "service", "reviewer", "admin"])
def test_only_supervisors_give_verdicts(engine: Engine, people: People, override: Maker, who: str) -> None:
    with pytest.raises(ForbiddenError, match="keys create --role supervisor"):
        adjudicate(engine, override(), ask("ai-right"), principal=people[who], systems=SYSTEMS)


def test_a_verdict_needs_a_claim_that_stands(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    case_id, supervisor = override(), people["supervisor"]
    with pytest.raises(ClaimError, match="nobody holds it"):
        adjudicate(engine, case_id, ask("ai-right"), principal=supervisor, systems=SYSTEMS)
    claim(engine, case_id, principal=supervisor, settings=feedback_settings, systems=SYSTEMS)
    with pytest.raises(ClaimError, match="another supervisor"):
        adjudicate(engine, case_id, ask("ai-right"), principal=people["other-supervisor"], systems=SYSTEMS)
    with writing(engine) as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(cases).where(cases.c.id == case_id).values(claimed_until=past))
    with pytest.raises(ClaimError, match="your claim ended"):
        adjudicate(engine, case_id, ask("ai-right"), principal=supervisor, systems=SYSTEMS)
    case = next_case(engine, principal=people["other-supervisor"], settings=feedback_settings, systems=SYSTEMS)
    assert case is not None and case.case_id == case_id
    with pytest.raises(ClaimError, match="another supervisor"):
        adjudicate(engine, case_id, ask("ai-right"), principal=supervisor, systems=SYSTEMS)
    assert (
        adjudicate(engine, case_id, ask("ai-right"), principal=people["other-supervisor"], systems=SYSTEMS).override_id
        == case_id
    )


def test_the_same_verdict_again_is_answered_as_the_first_time_and_another_refused(
    engine: Engine, people: People, override: Maker, judge: Maker
) -> None:
    case_id, supervisor = override(), people["supervisor"]
    kept = judge(case_id, "ai-right")
    assert adjudicate(engine, case_id, ask("ai-right"), principal=supervisor, systems=SYSTEMS) == kept
    assert adjudicate(engine, case_id, ask("ai-right", "icd10cm:R07.9"), principal=supervisor, systems=SYSTEMS) == kept
    for other, who in (
        (ask("coder-right"), "supervisor"),
        (ask("ai-right", citation="another"), "supervisor"),
        (ask("both-wrong", "icd10cm:I10"), "supervisor"),
        (ask("ai-right"), "other-supervisor"),
    ):
        with pytest.raises(ConflictError, match="closed"):
            adjudicate(engine, case_id, other, principal=people[who], systems=SYSTEMS)
    with engine.connect() as connection:
        assert len(connection.execute(select(adjudications)).all()) == 1


def test_verdicts_that_race_are_kept_once(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    case_id, supervisor = override(), people["supervisor"]
    claim(engine, case_id, principal=supervisor, settings=feedback_settings, systems=SYSTEMS)
    outcomes: list[object] = []
    barrier = threading.Barrier(4)

    def send(verdict: str) -> None:
        barrier.wait()
        try:
            outcomes.append(adjudicate(engine, case_id, ask(verdict), principal=supervisor, systems=SYSTEMS))
        except FeedbackError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=send, args=(verdict,)) for verdict in ["ai-right", "coder-right"] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    kept = [outcome for outcome in outcomes if isinstance(outcome, Adjudication)]
    assert len(kept) == 2 and kept[0] == kept[1]
    assert outcomes.count(ConflictError) == 2


@pytest.mark.parametrize("case_id", ["", "unknown", "nul\x00"])
def test_unknown_ids_are_told(engine: Engine, people: People, case_id: str) -> None:
    with pytest.raises(NotFoundError, match="no case"):
        adjudicate(engine, case_id, ask("ai-right"), principal=people["supervisor"], systems=SYSTEMS)
    with pytest.raises(NotFoundError, match="no adjudication"):
        load_adjudication(engine, case_id)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("icd10cm:E11", "'E11' is not a valid code of ICD-10-CM release 2026-04"),
        ("icd10cm:E11.6", "which applies to the date of coding"),
        ("icd10cm:Z99.999", "give a valid code"),
    ],
)
def test_a_code_that_is_not_valid_at_the_date_of_service_is_refused(
    engine: Engine, people: People, override: Maker, judge: Maker, key: str, told: str
) -> None:
    case_id = override()
    with pytest.raises(InvalidError, match=told):
        judge(case_id, "both-wrong", key)
    assert show(engine, case_id, principal=people["supervisor"], systems=SYSTEMS).is_yours
    assert judge(case_id, "both-wrong", "icd10cm:E11.69").override_id == case_id


def test_a_suggested_code_that_is_not_valid_can_be_wrong_but_not_right(
    suggest: Maker, decide: Maker, judge: Maker
) -> None:
    made = suggest(codes=("icd10cm:E11",))
    (override,) = decide(made.suggestion_id, ("reject", "icd10cm:E11", "not-valid-at-service")).overrides
    with pytest.raises(InvalidError, match="not a valid code"):
        judge(override.override_id, "ai-right")
    (code,) = judge(override.override_id, "coder-right").codes
    assert (code.key, code.state, code.release) == ("icd10cm:E11", CodeState.NEGATIVE, None)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"release": "2019"}, "release '2019' is not held"),
        ({"weight": 100.0}, "counts alike"),
        ({"state": "unknown"}, "expected positive or negative"),
        ({"evidence": [{"note_id": "n9", "start": 0, "end": 3}]}, "beyond the notes"),
    ],
)
def test_codes_given_are_checked(override: Maker, judge: Maker, more: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidError, match=told):
        judge(override(), "both-wrong", "icd10cm:J45.909", **more)


def test_a_case_whose_notes_were_purged_is_not_judged(
    engine: Engine, people: People, override: Maker, feedback_settings: FeedbackSettings
) -> None:
    case_id, supervisor = override(), people["supervisor"]
    claim(engine, case_id, principal=supervisor, settings=feedback_settings, systems=SYSTEMS)
    with writing(engine) as connection:
        connection.execute(delete(suggestion_contents))
    with pytest.raises(ConflictError, match="purged"):
        adjudicate(engine, case_id, ask("ai-right"), principal=supervisor, systems=SYSTEMS)


def test_the_audit_log_proves_the_verdict_without_its_words(engine: Engine, override: Maker, judge: Maker) -> None:
    kept = judge(override(), "ai-right", citation="Coding Clinic, words of our own")
    with engine.connect() as connection:
        (entry,) = connection.execute(
            select(audit_log.c.entry).where(audit_log.c.action == "case-adjudicated")
        ).scalars()
        codes = connection.execute(select(adjudications.c.codes)).scalar_one()
    details = json.loads(entry)["details"]
    assert (details["adjudication_id"], details["verdict"], details["num_codes"]) == (
        kept.adjudication_id, "ai-right", 1,
    )  # fmt: skip
    assert details["codes_sha256"] == hashlib.sha256(codes.encode()).hexdigest()
    assert details["citation_sha256"] == hashlib.sha256(kept.citation.encode()).hexdigest()
    assert "Coding Clinic" not in entry and "R07.9" not in entry


@pytest.mark.parametrize("change", [update(adjudications).values(citation="forged"), delete(adjudications)])
def test_a_verdict_stands_for_good(engine: Engine, override: Maker, judge: Maker, change: Any) -> None:
    judge(override(), "ai-right")
    with pytest.raises(DBAPIError, match="append-only"), writing(engine) as connection:
        connection.execute(change)
