"""The compliance linter: good queries pass, and every fault is found in a query that has it."""

from typing import Any

import pytest

from clinical_coding.physician_queries import OTHER, UNABLE_TO_DETERMINE, PhysicianQuery, QueryForm, QueryIndicator
from clinical_coding.queries import Basis, Fault, Purpose, faults_of
from clinical_coding.queries.compliance import faults_of_rule
from clinical_coding.queries.rules import QueryRule

NOTE = (
    "CHF with orthopnea, treated with IV furosemide. LVEF 32%. Pneumonia on the right. Chronic Foley, UTI on admission."
)
ALWAYS = (OTHER, UNABLE_TO_DETERMINE)


def indicator(words: str, name: str, *, note_id: str = "n1") -> QueryIndicator:
    start = NOTE.index(words)
    return QueryIndicator(note_id=note_id, start=start, end=start + len(words), name=name, text=words)


CHF = indicator("CHF", "heart failure documented")
DIURETIC = indicator("IV furosemide", "intravenous diuretic")
FOLEY = indicator("Foley", "urinary catheter in place")
UTI = indicator("UTI", "urinary tract infection documented")

GOOD: dict[str, Any] = {
    "title": "Heart failure: type and acuity",
    "form": QueryForm.MULTIPLE_CHOICE,
    "question": "Please specify the type and acuity of the documented heart failure, based on your clinical judgment.",
    "options": ("Chronic systolic heart failure", "Acute systolic heart failure", *ALWAYS),
    "indicators": (CHF, DIURETIC),
}
YES_NO: dict[str, Any] = {
    "title": "Urinary tract infection and urinary catheter: relation",
    "form": QueryForm.YES_NO,
    "question": "Is the documented urinary tract infection due to the documented urinary catheter?",
    "options": ("Yes", "No", *ALWAYS),
    "indicators": (UTI, FOLEY),
}
OPEN: dict[str, Any] = {**GOOD, "form": QueryForm.OPEN_ENDED, "options": ()}
SUPPORT = {
    "Chronic systolic heart failure": frozenset[str](),
    "Acute systolic heart failure": frozenset({"intravenous diuretic"}),
}


def query(**fields: Any) -> PhysicianQuery:
    return PhysicianQuery(query_id="q1", topic="some-topic", codes=(), source="Guidelines I.B.2", **fields)


def faults(fields: dict[str, Any], *, purpose: Purpose = Purpose.SPECIFICITY) -> set[Fault]:
    support = SUPPORT | {option: frozenset[str]() for option in fields.pop("supported", ())}
    return set(faults_of(query(**fields), basis=Basis(purpose, {"n1": NOTE}, support)))


@pytest.mark.parametrize(
    ("fields", "purpose"),
    [
        pytest.param(GOOD, Purpose.SPECIFICITY, id="multiple-choice"),
        pytest.param(OPEN, Purpose.SPECIFICITY, id="open-ended"),
        pytest.param(YES_NO, Purpose.CAUSE_AND_EFFECT, id="yes-no-cause"),
        pytest.param(
            {**YES_NO, "question": "Was the documented urinary tract infection present when the patient was admitted?"},
            Purpose.PRESENT_ON_ADMISSION,
            id="yes-no-present-on-admission",
        ),
        pytest.param(YES_NO, Purpose.SPECIFICITY, id="yes-no-substantiates-what-is-documented"),
        pytest.param(YES_NO, Purpose.CONFLICT, id="yes-no-conflict"),
        pytest.param(
            {
                **GOOD,
                "title": "Intravenous diuretic: reason",
                "question": "What was the intravenous diuretic given for?",
            },
            Purpose.DIAGNOSIS,
            id="options-may-name-what-indicators-support",
        ),
        pytest.param({**GOOD, "title": "CHF: type"}, Purpose.SPECIFICITY, id="title-in-the-words-of-the-note"),
    ],
)
def test_a_compliant_query_has_no_faults(fields: dict[str, Any], purpose: Purpose) -> None:
    assert faults(dict(fields), purpose=purpose) == set()


BAD = [
    (Fault.LEADING, {**GOOD, "question": "Don't you agree that this heart failure is of the systolic type?"}),
    (Fault.LEADING, {**GOOD, "question": "Please document that the documented heart failure is acute and systolic."}),
    (Fault.LEADING, {**GOOD, "question": "The indicators support acute heart failure, is this what you treated?"}),
    (Fault.LEADING, {**GOOD, "question": "The heart failure clearly is systolic, which acuity does it have?"}),
    (Fault.LEADING, {**GOOD, "title": "Heart failure should be documented as acute"}),
    (Fault.NEW_DIAGNOSIS_IN_TITLE, {**GOOD, "title": "Sepsis: clinical assessment"}),
    (Fault.NEW_DIAGNOSIS_IN_TITLE, {**GOOD, "title": "Acute kidney injury and heart failure"}),
    (Fault.NEW_DIAGNOSIS_IN_TITLE, {**GOOD, "title": "Hyponatremia"}),
    (
        Fault.NEW_DIAGNOSIS_IN_QUESTION,
        {**GOOD, "question": "Does the patient with heart failure have encephalopathy as well?"},
    ),
    (
        Fault.NEW_DIAGNOSIS_IN_QUESTION,
        {**YES_NO, "question": "Does this patient have respiratory failure in this encounter?"},
    ),
    (
        Fault.NEW_DIAGNOSIS_IN_QUESTION,
        {**GOOD, "question": "Please specify the severity of the malnutrition of this patient."},
    ),
    (
        Fault.FINANCE,
        {**GOOD, "question": "Please specify the type of the heart failure, as it changes the DRG of the stay."},
    ),
    (Fault.FINANCE, {**GOOD, "question": "Please specify the heart failure, so that reimbursement is not delayed."}),
    (Fault.FINANCE, {**GOOD, "title": "Heart failure as an MCC"}),
    (
        Fault.FINANCE,
        {**GOOD, "question": "Please specify the heart failure, which counts in the quality measures of the unit."},
    ),
    (
        Fault.FINANCE,
        {**GOOD, "question": "Please specify the heart failure for risk adjustment of this patient's stay."},
    ),
    (Fault.FINANCE, {**GOOD, "indicators": (CHF, indicator("IV furosemide", "raises the HCC weight"))}),
    (
        Fault.CODE_NUMBER,
        {**GOOD, "question": "Please specify the type of the heart failure beyond I50.9 as documented."},
    ),
    (Fault.CODE_NUMBER, {**GOOD, "title": "Heart failure in ICD-10 terms"}),
    (
        Fault.PRIOR_ENCOUNTER,
        {**GOOD, "question": "Is the heart failure the chronic one of the previous admission or a new one?"},
    ),
    (Fault.UNCLEAR, {**GOOD, "question": "Heart failure type?"}),
    (Fault.UNCLEAR, {**GOOD, "question": "What is the type of the heart failure? And is it acute or chronic?"}),
    (Fault.UNCLEAR, {**GOOD, "question": "The heart failure of this patient has no type on the record"}),
    (
        Fault.UNCLEAR,
        {**GOOD, "question": "Please specify the heart failure " + "and all that goes with it " * 15 + "in full."},
    ),
    (Fault.UNCLEAR, {**GOOD, "title": " "}),
    (Fault.TOO_FEW_OPTIONS, {**GOOD, "options": ("Acute systolic heart failure", *ALWAYS)}),
    (Fault.TOO_FEW_OPTIONS, {**GOOD, "options": ALWAYS}),
    (Fault.OTHER_MISSING, {**GOOD, "options": (*GOOD["options"][:2], UNABLE_TO_DETERMINE)}),
    (Fault.OTHER_MISSING, {**YES_NO, "options": ("Yes", "No", UNABLE_TO_DETERMINE)}),
    (Fault.UNABLE_MISSING, {**GOOD, "options": (*GOOD["options"][:2], OTHER)}),
    (Fault.UNABLE_MISSING, {**GOOD, "options": (UNABLE_TO_DETERMINE, *GOOD["options"][:2], OTHER)}),
    (Fault.UNSUPPORTED_OPTION, {**GOOD, "indicators": (CHF,)}),
    (Fault.UNSUPPORTED_OPTION, {**GOOD, "options": ("Septic shock", *GOOD["options"])}),
    (
        Fault.WEIGHTED_OPTIONS,
        {
            **GOOD,
            "options": ("Acute systolic heart failure (most likely)", *GOOD["options"]),
            "supported": ("Acute systolic heart failure (most likely)",),
        },
    ),
    (Fault.WEIGHTED_OPTIONS, {**GOOD, "options": ("ACUTE SYSTOLIC heart failure", *GOOD["options"])}),
    (Fault.REPEATED_OPTION, {**GOOD, "options": ("Chronic systolic heart failure", *GOOD["options"])}),
    (Fault.OPTIONS_ON_OPEN_ENDED, {**GOOD, "form": QueryForm.OPEN_ENDED}),
    (Fault.YES_NO_OPTIONS, {**YES_NO, "options": ("Yes", "Probably", *ALWAYS)}),
    (Fault.FOREIGN_INDICATOR, {**GOOD, "indicators": (indicator("CHF", CHF.name, note_id="n9"), DIURETIC)}),
    (Fault.MISQUOTED_INDICATOR, {**GOOD, "indicators": (CHF.model_copy(update={"text": "HFrEF"}), DIURETIC)}),
]


@pytest.mark.parametrize(("fault", "fields"), BAD, ids=[f"{fault}-{place}" for place, (fault, _) in enumerate(BAD)])
def test_a_fault_is_found(fault: Fault, fields: dict[str, Any]) -> None:
    purpose = Purpose.CAUSE_AND_EFFECT if fields["form"] is QueryForm.YES_NO else Purpose.SPECIFICITY
    assert fault in faults(dict(fields), purpose=purpose)


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose])
def test_yes_or_no_never_makes_a_diagnosis(purpose: Purpose) -> None:
    found = faults(dict(YES_NO), purpose=purpose)
    assert (Fault.YES_NO_NOT_ALLOWED in found) == (purpose is Purpose.DIAGNOSIS)


def test_every_fault_is_shown_here() -> None:
    elsewhere = {Fault.YES_NO_NOT_ALLOWED, Fault.NEW_DIAGNOSIS_IN_INDICATOR}
    assert {fault for fault, _ in BAD} | elsewhere == set(Fault)


RULE: dict[str, Any] = {
    "topic": "heart-failure-type",
    "title": "Heart failure: type",
    "purpose": "specificity",
    "form": "multiple-choice",
    "settings": ["inpatient"],
    "indicators": [
        {"name": "heart failure documented", "terms": ["heart failure", "chf"]},
        {"name": "intravenous diuretic", "terms": ["iv furosemide"]},
        {"name": "low sodium", "terms": ["low sodium"]},
    ],
    "requires": [{"of": ["heart failure documented"]}, {"of": ["intravenous diuretic", "low sodium"]}],
    "question": "Please specify the type of the documented heart failure, based on your clinical judgment.",
    "options": [{"text": "Systolic"}, {"text": "Diastolic"}],
    "source": "Guidelines I.B.2",
    "examples": {
        "asks": [{"setting": "inpatient", "note": "CHF, IV furosemide."}],
        "silent": [{"setting": "inpatient", "note": "No CHF."}],
    },
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ()),
        # Both members of a group name it, so it is documented whichever is found.
        (
            {
                "indicators": [
                    {"name": "sepsis documented", "terms": ["sepsis"]},
                    {"name": "severe sepsis documented", "terms": ["severe sepsis"]},
                ],
                "requires": [{"of": ["sepsis documented", "severe sepsis documented"]}],
                "title": "Sepsis: type",
                "question": "Please specify the organ function affected by the documented sepsis.",
            },
            (),
        ),
        ({"title": "Hyponatremia: cause"}, (Fault.NEW_DIAGNOSIS_IN_TITLE,)),
        (
            {"requires": [{"of": ["intravenous diuretic"]}]},
            (Fault.NEW_DIAGNOSIS_IN_TITLE, Fault.NEW_DIAGNOSIS_IN_QUESTION),
        ),
        (
            {"indicators": [*RULE["indicators"], {"name": "signs of sepsis", "terms": ["fever"]}]},
            (Fault.NEW_DIAGNOSIS_IN_INDICATOR,),
        ),
        ({"indicators": [*RULE["indicators"], {"name": "an MCC", "terms": ["fever"]}]}, (Fault.FINANCE,)),
        # Needed by one answer only, so that a query may come out with a single one.
        ({"options": [{"text": "Systolic"}, {"text": "Acute", "needs": ["low sodium"]}]}, (Fault.TOO_FEW_OPTIONS,)),
        # One of the two is always there.
        ({"options": [{"text": "Systolic"}, {"text": "Acute", "needs": ["low sodium", "intravenous diuretic"]}]}, ()),
        ({"form": "yes-no", "options": [], "purpose": "diagnosis"}, (Fault.YES_NO_NOT_ALLOWED,)),
        ({"form": "yes-no"}, (Fault.YES_NO_OPTIONS,)),
        ({"form": "open-ended"}, (Fault.OPTIONS_ON_OPEN_ENDED,)),
    ],
)
def test_a_rule_is_judged_by_the_least_that_it_can_cite(change: dict[str, Any], expected: tuple[Fault, ...]) -> None:
    assert faults_of_rule(QueryRule.model_validate(RULE | change)) == expected
