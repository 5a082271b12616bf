import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select
from sqlalchemy.exc import DBAPIError

from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import CodeAction, Decision
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.decisions import (
    RecordedDecision,
    decision_of,
    decisions_of,
    final_codes,
    load_decision,
    record_decision,
    record_decisions,
)
from feedback.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from feedback.overrides import overrides_of_suggestion
from feedback.settings import FeedbackSettings, ReasonCodes
from feedback.tables import cases, decisions, overrides
from ledger.audit_log import audit_log
from ledger.group_commit import write
from ledger.principals import Principal
from ledger.suggestions import load, suggestion_contents

SYSTEMS = CodeSystems.embedded()

Decide = Callable[..., RecordedDecision]
Suggest = Callable[..., Suggestion]

ACTIONS = (
    ("accept", "icd10cm:I10"),
    ("modify", "icd10cm:E11.9", "E11.65", "wrong-complication"),
    ("reject", "icd10cm:R07.9", "integral-symptom"),
    ("add", "icd10cm:Z79.4", "use-additional-code"),
)


def count(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def purge(engine: Engine, suggestion: Suggestion) -> None:
    of_this = suggestion_contents.c.suggestion_id == suggestion.suggestion_id
    write(engine, lambda connection: connection.execute(delete(suggestion_contents).where(of_this)))


def test_a_decision_is_stored_with_overrides_cases_and_a_line_in_the_audit_log(
    engine: Engine, suggestion: Suggestion, people: Mapping[str, Principal], decide: Decide
) -> None:
    recorded = decide(suggestion.suggestion_id, *ACTIONS, key="k1")
    assert not recorded.is_repeated
    assert [
        (override.action, override.suggested_key, override.coder_key, override.reason)
        for override in recorded.overrides
    ] == [
        (CodeAction.MODIFY, "icd10cm:E11.9", "icd10cm:E11.65", "wrong-complication"),
        (CodeAction.REJECT, "icd10cm:R07.9", None, "integral-symptom"),
        (CodeAction.ADD, None, "icd10cm:Z79.4", "use-additional-code"),
    ]
    with engine.connect() as connection:
        stored = load_decision(connection, recorded.decision_id)
        assert (stored.principal_id, stored.decided_at) == (people["coder"].id, recorded.decided_at)
        assert [code.action for code in stored.decision.codes] == ["accept", "modify", "reject", "add"]
        assert decision_of(connection, suggestion.suggestion_id) == stored
        assert overrides_of_suggestion(connection, suggestion.suggestion_id) == recorded.overrides
        kept = load(connection, suggestion.suggestion_id)
        assert final_codes(kept, stored.decision) == {"icd10cm:I10", "icd10cm:E11.65", "icd10cm:Z79.4", "cpt:99213"}
        opened = connection.execute(select(cases).order_by(cases.c.id)).all()
        entry = connection.execute(select(audit_log).order_by(audit_log.c.seq.desc())).first()
    assert [case.id for case in opened] == [override.override_id for override in recorded.overrides]
    assert {(case.kind, case.coder_id, case.state, case.claimed_by) for case in opened} == {
        ("override", people["coder"].id, "open", None)
    }
    assert entry is not None
    assert (entry.action, entry.subject) == ("decision-made", f"decision:{recorded.decision_id}")
    details = json.loads(entry.entry)["details"]
    assert details["body_sha256"] == stored.body_sha256
    assert details["content_sha256"] == kept.content_sha256
    assert details["num_overrides"] == 3


def test_what_is_not_mentioned_is_accepted(engine: Engine, suggestion: Suggestion, decide: Decide) -> None:
    assert decide(suggestion.suggestion_id).overrides == ()
    with engine.connect() as connection:
        kept, stored = load(connection, suggestion.suggestion_id), decision_of(connection, suggestion.suggestion_id)
        assert stored is not None
        assert len(final_codes(kept, stored.decision)) == len(suggestion.codes)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([("reject", "icd10cm:E78.5", "not-documented")], "codes.0.code 'E78.5' of icd10cm is not suggested"),
        ([("accept", "icd10cm:E78.5")], "codes.0.code 'E78.5' of icd10cm is not suggested"),
        ([("accept", "icd10cm:I10"), ("reject", "icd10cm:I10", "not-documented")], "codes.1.code 'I10' is named twice"),
        ([("add", "icd10cm:I10", "missed-documentation")], "codes.0.code 'I10' is suggested already"),
        ([("modify", "icd10cm:I10", "R07.9", "wrong-site")], "codes.0.to 'R07.9' is suggested already"),
        ([("modify", "icd10cm:I10", "I10", "wrong-site")], "codes.0.to 'I10' is suggested already"),
        ([("add", "icd10cm:J45.20", "missed-documentation")] * 2, "codes.1.code 'J45.20' is given twice"),
        (
            [("reject", "icd10cm:I10", "because")],
            "codes.0.reason 'because' is not a reason code; choose one of not-doc",
        ),
        ([("reject", "icd10cm:I10", "wrong-laterality")], "does not fit action 'reject'; choose one of not-documented"),
        (
            [("add", "icd10cm:E11.6", "missed-documentation")],
            "codes.0.code 'E11.6' is not a valid code of ICD-10-CM release 2026-04, which applies to the date of "
            "coding 2026-06-16 (nearest: E11.610); give a valid code",
        ),
        ([("modify", "icd10cm:E11.9", "E11.99", "wrong-complication")], "codes.0.to 'E11.99' is not .*nearest: E11.9"),
        ([("add", "icd10cm:U99.9", "missed-documentation")], "'U99.9' is not a valid code .* 2026-06-16; give"),
    ],
)
def test_what_contradicts_suggestion_reasons_or_code_list_is_refused_and_leaves_nothing(
    engine: Engine, suggestion: Suggestion, decide: Decide, actions: list[tuple[str, ...]], message: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        decide(suggestion.suggestion_id, *actions)
    assert all(part in str(caught.value) for part in message.split(".*"))
    assert count(engine, decisions) == 0
    assert count(engine, overrides) == 0


def test_codes_are_judged_by_form_alone_where_no_list_is_held(suggestion: Suggestion, decide: Decide) -> None:
    recorded = decide(suggestion.suggestion_id, ("modify", "cpt:99213", "99214", "wrong-visit-level"))
    assert recorded.overrides[0].coder_key == "cpt:99214"


def test_without_a_date_of_service_the_error_says_so(
    suggest: Suggest, sample_request: SuggestionRequest, decide: Decide
) -> None:
    encounter = sample_request.encounter.model_copy(update={"service_start": None, "service_end": None})
    suggestion = suggest(request=sample_request.model_copy(update={"encounter": encounter}))
    with pytest.raises(InvalidError, match="applies to an unknown date of coding"):
        decide(suggestion.suggestion_id, ("add", "icd10cm:E11.6", "missed-documentation"))


def test_on_the_manual_route_codes_are_only_added_and_nothing_is_told_of_the_withheld_ones(
    engine: Engine, suggest: Suggest, decide: Decide
) -> None:
    suggestion = suggest(route="manual")
    for action in (("accept", "icd10cm:I10"), ("reject", "icd10cm:I10", "not-documented")):
        with pytest.raises(InvalidError, match="does not fit the manual route"):
            decide(suggestion.suggestion_id, action)
    added = [("add", key, "coded-without-suggestions") for key in ("icd10cm:I10", "icd10cm:J45.20")]
    recorded = decide(suggestion.suggestion_id, *added)
    assert recorded.overrides == ()
    assert count(engine, cases) == 0
    with engine.connect() as connection:
        kept, stored = load(connection, suggestion.suggestion_id), load_decision(connection, recorded.decision_id)
    assert final_codes(kept, stored.decision) == {"icd10cm:I10", "icd10cm:J45.20"}


def test_nothing_is_final_before_it_is_decided_but_what_is_autonomous(
    engine: Engine, suggest: Suggest, decide: Decide
) -> None:
    assisted, autonomous = suggest(), suggest(route="autonomous")
    deferred = decide(assisted.suggestion_id, outcome="deferred")
    with engine.connect() as connection:
        stored = load_decision(connection, deferred.decision_id)
        with pytest.raises(InvalidError, match="is not decided"):
            final_codes(load(connection, assisted.suggestion_id), stored.decision)
        assert len(final_codes(load(connection, autonomous.suggestion_id), None)) == 4


def test_purged_content_can_no_longer_be_decided(engine: Engine, suggest: Suggest, decide: Decide) -> None:
    suggestion, decided = suggest(), suggest()
    first = decide(decided.suggestion_id, key="k")
    for one in (suggestion, decided):
        purge(engine, one)
    with pytest.raises(InvalidError, match="the content of this suggestion was purged"):
        decide(suggestion.suggestion_id)
    with engine.connect() as connection, pytest.raises(InvalidError, match="its content was purged"):
        final_codes(load(connection, suggestion.suggestion_id), None)
    assert decide(decided.suggestion_id, key="k").decision_id == first.decision_id


@pytest.mark.parametrize("suggestion_id", ["01930000-0000-7000-8000-000000000000", "\0", "x" * 128])
def test_an_unknown_suggestion_is_told(decide: Decide, people: Mapping[str, Principal], suggestion_id: str) -> None:
    with pytest.raises(NotFoundError, match="suggestion_id names no stored suggestion"):
        decide(suggestion_id)


@pytest.mark.parametrize(("who", "may"), [("supervisor", 1), ("service", 1), ("reviewer", 0), ("admin", 0)])
def test_roles_decide_or_do_not(suggestion: Suggestion, decide: Decide, engine: Engine, who: str, may: int) -> None:
    if may:
        decide(suggestion.suggestion_id, who=who)
    else:
        with pytest.raises(ForbiddenError, match=f"role {who} may not decide; use a key of role coder, supervisor"):
            decide(suggestion.suggestion_id, who=who)
    assert count(engine, decisions) == may


def test_the_same_again_is_answered_as_the_first_time(engine: Engine, suggestion: Suggestion, decide: Decide) -> None:
    first = decide(suggestion.suggestion_id, *ACTIONS, key="k1")
    again = decide(suggestion.suggestion_id, *ACTIONS, key="k1")
    assert again.is_repeated
    assert (again.decision_id, again.decided_at, again.overrides) == (
        first.decision_id,
        first.decided_at,
        first.overrides,
    )
    assert count(engine, decisions) == 1
    assert count(engine, overrides) == 3
    with pytest.raises(ConflictError, match=f"key was used for another decision .{first.decision_id}"):
        decide(suggestion.suggestion_id, key="k1")


def test_a_key_is_its_principals_own(suggest: Suggest, decide: Decide) -> None:
    first, second = suggest(), suggest()
    decide(first.suggestion_id, key="k1")
    assert not decide(second.suggestion_id, key="k1", who="other-coder").is_repeated


@pytest.mark.parametrize("key", ["", "x" * 129, "a\nb", "a\0b", "\ud800"])
def test_a_malformed_key_is_refused(suggestion: Suggestion, decide: Decide, key: str) -> None:
    with pytest.raises(InvalidError, match=f"idempotency key of {len(key)} characters is malformed"):
        decide(suggestion.suggestion_id, key=key)


def test_any_printable_key_will_do(suggestion: Suggestion, decide: Decide) -> None:
    key = "é" * 128
    assert not decide(suggestion.suggestion_id, key=key).is_repeated
    assert decide(suggestion.suggestion_id, key=key).is_repeated


@pytest.mark.parametrize("outcome", ["escalated", "deferred"])
def test_what_is_escalated_or_deferred_may_be_followed_what_is_decided_may_not(
    engine: Engine, suggestion: Suggestion, decide: Decide, outcome: str
) -> None:
    first = decide(suggestion.suggestion_id, outcome=outcome)
    assert first.overrides == ()
    with engine.connect() as connection:
        assert decision_of(connection, suggestion.suggestion_id) is None
    last = decide(suggestion.suggestion_id, who="other-coder")
    with engine.connect() as connection:
        told = decisions_of(connection, suggestion.suggestion_id)
    assert [decision.decision_id for decision in told] == [first.decision_id, last.decision_id]
    for late in ("decided", outcome):
        with pytest.raises(ConflictError, match=f"decided already .decision {last.decision_id}"):
            decide(suggestion.suggestion_id, outcome=late)


def test_of_many_at_once_one_decides_and_each_key_is_stored_once(
    engine: Engine, suggest: Suggest, decide: Decide
) -> None:
    suggestion, together = suggest(), threading.Barrier(8)

    def ask(number: int) -> str:
        together.wait()
        try:
            # Four clients, each of which sends the same twice.
            return decide(suggestion.suggestion_id, key=f"k{number % 4}").decision_id
        except ConflictError:
            return "conflict"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert sorted(answers).count("conflict") == 6
    assert len({answer for answer in answers if answer != "conflict"}) == 1
    assert count(engine, decisions) == 1


def test_many_in_one_transaction_each_with_its_own_fate(
    engine: Engine,
    suggest: Suggest,
    people: Mapping[str, Principal],
    undrawn: FeedbackSettings,
    reasons: ReasonCodes,
) -> None:
    one, other = suggest(), suggest()

    def body(suggestion: Suggestion, outcome: str = "decided") -> Decision:
        fields = {"suggestion_id": suggestion.suggestion_id, "outcome": outcome, "seconds_spent": 1}
        return Decision.model_validate(fields)

    asked = [
        ("a", body(one, "deferred")),
        ("b", body(one)),
        ("b", body(one)),
        ("c", body(one)),
        ("a", body(other)),
        ("", body(other)),
        ("d", body(other)),
    ]
    outcomes = record_decisions(
        engine, asked, principal=people["coder"], settings=undrawn, reasons=reasons, systems=SYSTEMS
    )
    kinds = [
        type(outcome).__name__ if not isinstance(outcome, RecordedDecision) else outcome.is_repeated
        for outcome in outcomes
    ]
    assert kinds == [False, False, True, "ConflictError", "ConflictError", "InvalidError", False]
    assert count(engine, decisions) == 3
    again = record_decisions(
        engine, asked, principal=people["coder"], settings=undrawn, reasons=reasons, systems=SYSTEMS
    )
    assert [outcome.is_repeated for outcome in again if isinstance(outcome, RecordedDecision)] == [True] * 4
    assert count(engine, decisions) == 3


def test_what_the_database_refuses_is_undone_whole(
    engine: Engine,
    suggestion: Suggestion,
    people: Mapping[str, Principal],
    undrawn: FeedbackSettings,
    reasons: ReasonCodes,
) -> None:
    stranger = Principal("nobody", "nobody", people["coder"].role, people["coder"].created_at, None)
    before = count(engine, audit_log)
    with pytest.raises(DBAPIError):
        record_decision(
            engine,
            Decision(suggestion_id=suggestion.suggestion_id, seconds_spent=1),
            idempotency_key="k",
            principal=stranger,
            settings=undrawn,
            reasons=reasons,
            systems=SYSTEMS,
        )
    assert (count(engine, decisions), count(engine, audit_log)) == (0, before)


def test_decisions_made_at_once_are_read_back_in_their_order(
    engine: Engine,
    people: Mapping[str, Principal],
    suggest: Callable[..., Suggestion],
    undrawn: FeedbackSettings,
    reasons: ReasonCodes,
) -> None:
    ids = [suggest().suggestion_id for _ in range(10)]
    asked = [
        (
            f"{outcome} {suggestion_id}",
            Decision(suggestion_id=suggestion_id, outcome=outcome, codes=(), seconds_spent=1),
        )
        for suggestion_id in ids
        for outcome in ("deferred", "decided")
    ]
    record_decisions(engine, asked, principal=people["coder"], settings=undrawn, reasons=reasons, systems=SYSTEMS)
    with engine.connect() as connection:
        for suggestion_id in ids:
            said = [one.decision.outcome for one in decisions_of(connection, suggestion_id)]
            assert said == ["deferred", "decided"]
