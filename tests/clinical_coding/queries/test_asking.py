"""From an encounter to its queries: which mentions count, what is cited, what ids they have."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_coding.codes import Code, CodeState, CodeSystem, EvidenceSpan
from clinical_coding.documentation import read_note
from clinical_coding.findings import Finding, Severity
from clinical_coding.physician_queries import OTHER, UNABLE_TO_DETERMINE, PhysicianQuery
from clinical_coding.queries import QueryRules, asking, find_queries, load_query_rules
from clinical_coding.queries.compliance import Fault
from clinical_coding.queries.rules import Example
from clinical_coding.records import Encounter, Note, Setting

Asking = Callable[[Example, QueryRules], tuple[PhysicianQuery, ...]]
SUGGESTION_ID = str(UUID(int=7))
INPATIENT = Encounter(setting=Setting.INPATIENT, specialty="medicine", age=70)
CHF = "CHF, treated with IV furosemide. LVEF 32%."


def topics(
    note: str, rules: QueryRules, *, encounter: Encounter = INPATIENT, codes: tuple[Code, ...] = ()
) -> list[str]:
    read = [read_note(Note(note_id="n1", text=note))]
    return [query.topic for query in find_queries(encounter, read, codes, (), rules=rules, suggestion_id=SUGGESTION_ID)]


def code(number: str, *spans: tuple[str, int, int], state: CodeState = CodeState.POSITIVE) -> Code:
    evidence = tuple(EvidenceSpan(note_id=note, start=start, end=end) for note, start, end in spans)
    return Code(system=CodeSystem.ICD10CM, code=number, evidence=evidence, state=state)


def test_a_query_cites_asks_and_is_named_after_its_suggestion(ask: Asking, rules: QueryRules) -> None:
    example = Example(setting=Setting.INPATIENT, note=CHF)
    (query,) = ask(example, rules)
    assert query.topic == "heart-failure-reduced-ejection-fraction"
    assert query.query_id == str(uuid5(UUID(SUGGESTION_ID), f"{query.topic}:1"))
    assert [(indicator.name, indicator.text) for indicator in query.indicators] == [
        ("heart failure documented", "CHF"),
        ("ejection fraction 40% or lower", "LVEF 32%"),
        ("signs or treatment of congestion", "IV furosemide"),
    ]
    assert query.options[0] == "Acute systolic (reduced ejection fraction) heart failure"
    assert query.options[-2:] == (OTHER, UNABLE_TO_DETERMINE)
    assert query.codes == ("icd10cm:I50.21", "icd10cm:I50.22", "icd10cm:I50.23", "icd10cm:I50.9")
    assert ask(example, rules) == (query,)


def test_options_follow_their_indicators(ask: Asking, rules: QueryRules) -> None:
    (query,) = ask(Example(setting=Setting.INPATIENT, note="CHF at baseline. LVEF 32%."), rules)
    assert not any(option.startswith("Acute") for option in query.options)


@pytest.mark.parametrize(
    "note",
    [
        "No CHF. LVEF 32%.",
        "Family history: father with CHF. LVEF 32%.",
        "Return if signs of CHF develop. LVEF 32%.",
        "History of CHF, resolved. LVEF 32%.",
        "CHF with LVEF 32%: chronic systolic heart failure.",
    ],
)
def test_what_is_not_affirmed_now_or_is_answered_already_is_not_asked_about(note: str, rules: QueryRules) -> None:
    assert "heart-failure-reduced-ejection-fraction" not in topics(note, rules)


@pytest.mark.parametrize(
    ("statement", "asked"),
    [
        ("Sepsis.", False),
        ("No sepsis.", False),
        ("Possible sepsis.", False),
        ("Mother died of sepsis.", True),
        ("Return if signs of sepsis develop.", True),
        ("", True),
    ],
)
def test_any_statement_about_this_patient_settles_a_question(statement: str, asked: bool, rules: QueryRules) -> None:
    note = f"Pyelonephritis. T 39.2 C, HR 118. Blood cultures drawn, lactate 3.1.\n\n{statement}"
    assert ("infection-with-systemic-response" in topics(note, rules)) == asked


def test_codes_settle_a_question_unless_they_were_rejected(rules: QueryRules) -> None:
    assert topics(CHF, rules, codes=(code("I50.22"),)) == []
    assert topics(CHF, rules, codes=(code("I50.22", state=CodeState.NEGATIVE),)) != []


def test_a_code_is_an_indicator_by_its_evidence(rules: QueryRules) -> None:
    note = "Pump failure of the heart. LVEF 32%."
    read = [read_note(Note(note_id="n1", text=note))]

    def asked(*codes: Code) -> tuple[PhysicianQuery, ...]:
        return find_queries(INPATIENT, read, codes, (), rules=rules, suggestion_id=SUGGESTION_ID)

    (query,) = asked(code("I50.9", ("n1", 0, 12)))
    assert query.indicators[0].text == "Pump failure"
    assert query.codes[0] == "icd10cm:I50.9"
    assert asked(code("I50.9")) == ()
    assert asked(code("I50.9", ("another", 0, 12))) == ()
    assert asked(code("I50.9", ("n1", 0, 999))) == ()


def test_negated_evidence_of_a_code_is_no_indicator(rules: QueryRules) -> None:
    note = "No failure of the pump. LVEF 32%."
    assert topics(note, rules, codes=(code("I50.9", ("n1", 3, 10)),)) == []


@pytest.mark.parametrize(("age", "asked"), [(17, False), (18, True), (None, True)])
def test_age_limits_a_rule(age: int | None, asked: bool, rules: QueryRules) -> None:
    encounter = Encounter(setting=Setting.OUTPATIENT, specialty="medicine", age=age)
    found = topics("BMI 41.2, diet and exercise reviewed.", rules, encounter=encounter)
    assert found == (["body-mass-index"] if asked else [])


@pytest.mark.parametrize(("setting", "asked"), [(Setting.INPATIENT, True), (Setting.OUTPATIENT, False)])
def test_the_setting_limits_a_rule(setting: Setting, asked: bool, rules: QueryRules) -> None:
    encounter = Encounter(setting=setting, specialty="medicine")
    note = "Sodium 121 mmol/L."
    assert topics(note, rules, encounter=encounter) == (["sodium-low"] if asked else [])


def test_indicators_may_stand_in_different_notes(rules: QueryRules) -> None:
    notes = [
        read_note(Note(note_id="echo", text="LVEF 32%.")),
        read_note(Note(note_id="discharge", text="CHF, treated.")),
    ]
    (query,) = find_queries(INPATIENT, notes, (), (), rules=rules, suggestion_id=SUGGESTION_ID)
    assert {indicator.note_id for indicator in query.indicators} == {"echo", "discharge"}


def test_each_finding_has_its_own_query(rules: QueryRules) -> None:
    text = "Knee: arthroscopy of the left knee, right knee marked. Shoulder: left shoulder, right shoulder marked."

    def conflict(words: str, key: str) -> Finding:
        start = text.index(words)
        span = EvidenceSpan(note_id="n1", start=start, end=start + len(words))
        return Finding(
            rule="laterality-conflict",
            severity=Severity.WARNING,
            codes=(key,),
            explanation="",
            source="",
            fix=None,
            evidence=(span,),
        )

    findings = [
        conflict("left knee", "icd10cm:M23.204"),
        conflict("left shoulder", "icd10cm:M75.102"),
        conflict("left knee", "icd10cm:M23.204"),
    ]
    read = [read_note(Note(note_id="n1", text=text))]
    queries = find_queries(INPATIENT, read, (), findings, rules=rules, suggestion_id=SUGGESTION_ID)
    assert [query.codes for query in queries] == [("icd10cm:M23.204",), ("icd10cm:M75.102",)]
    assert [query.query_id for query in queries] == [
        str(uuid5(UUID(SUGGESTION_ID), f"side-conflict:{place}")) for place in (1, 2)
    ]


@pytest.mark.parametrize(
    ("rest", "asked"),
    [
        ("Consent names the right knee.", True),
        ("Consent names the RIGHT  KNEE.", True),
        ("The right shoulder is stiff.", False),
        ("No pain in the right knee.", False),
        ("The knee is swollen.", False),
    ],
)
def test_sides_conflict_only_at_the_same_place(rest: str, asked: bool, ask: Asking, rules: QueryRules) -> None:
    note = f"Meniscal tear of the left knee. {rest}"
    for words in ("left knee", "left"):
        example = Example(setting=Setting.SAME_DAY_SURGERY, note=note, findings={"laterality-conflict": words})
        assert [query.topic for query in ask(example, rules)] == (["side-conflict"] if asked else [])


def test_queries_come_in_the_order_of_the_rules(rules: QueryRules) -> None:
    note = "K 2.8, potassium chloride given. Sodium 121 mmol/L. CHF with LVEF 32%."
    order = [rule.topic for rule in rules.rules]
    found = topics(note, rules)
    assert len(found) == 3
    assert found == sorted(found, key=order.index)


def test_a_query_that_is_not_compliant_is_withheld_and_logged_without_its_text(
    rules: QueryRules, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(asking, "faults_of", lambda query, *, basis: (Fault.LEADING,))
    with caplog.at_level(logging.WARNING):
        assert topics(CHF, rules) == []
    assert "heart-failure-reduced-ejection-fraction, faults leading" in caplog.text
    assert "furosemide" not in caplog.text


PAST: dict[str, Any] = {
    "rules": [
        {
            "topic": "spleen",
            "title": "Spleen: reason for removal",
            "purpose": "diagnosis",
            "form": "open-ended",
            "settings": ["inpatient"],
            "indicators": [{"name": "spleen removed", "terms": ["splenectomy"], "past": True}],
            "requires": [{"of": ["spleen removed"]}],
            "question": "Please state for what reason the spleen was removed.",
            "source": "none",
            "examples": {
                "asks": [{"setting": "inpatient", "note": "History of splenectomy."}],
                "silent": [{"setting": "inpatient", "note": "No splenectomy."}],
            },
        }
    ]
}


@pytest.mark.parametrize(("past", "asked"), [(True, ["spleen"]), (False, [])])
def test_the_past_counts_where_a_rule_says_so(past: bool, asked: list[str], tmp_path: Path) -> None:
    rule = PAST["rules"][0] | {"indicators": [PAST["rules"][0]["indicators"][0] | {"past": past}]}
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"rules": [rule]}), encoding="utf-8")
    assert topics("History of splenectomy.", load_query_rules(path)) == asked


FRAGMENTS = [
    "CHF",
    "Hgb 11.2",
    "Hgb 7",
    "->",
    "(",
    "BP 78/",
    "no",
    "melena",
    ".",
    "\n\n",
    "K",
    "2,8",
    "Cr 1-",
    "\u00b5",
    "sepsis",
    "\u0130",
]


@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=25), setting=st.sampled_from(Setting))
def test_any_note_is_read_without_error_and_quoted_rightly(
    words: list[str], setting: Setting, rules: QueryRules
) -> None:
    text = " ".join(words)
    if not text.strip():
        return
    encounter = Encounter(setting=setting, specialty="medicine")
    read = [read_note(Note(note_id="n1", text=text))]
    for query in find_queries(encounter, read, (), (), rules=rules, suggestion_id=SUGGESTION_ID):
        assert all(text[indicator.start : indicator.end] == indicator.text for indicator in query.indicators)
