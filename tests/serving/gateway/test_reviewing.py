"""What the documentation and coding rules say of the model's codes, as a client of the gateway sees it."""

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.testclient import TestClient

from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeSystem, EvidenceSpan
from clinical_coding.predictions import PredictedCode

PNEUMONIA = "Cough and fever for three days. Assessment: possible pneumonia."
DISCHARGE = "Discharge diagnosis: possible pneumonia. Treated with ceftriaxone for cough and fever."


def scored(text: str, **mentions: tuple[str, float]) -> tuple[PredictedCode, ...]:
    """Codes as a model would score them, best first, each with the evidence that it points at."""
    codes = []
    for code, (mention, confidence) in mentions.items():
        start = text.index(mention)
        span = EvidenceSpan(note_id="n1", start=start, end=start + len(mention))
        number = code.replace("_", ".")
        codes.append(
            PredictedCode(
                system=CodeSystem.ICD10CM, code=number, confidence=confidence, suggested=True, evidence=(span,)
            )
        )
    return tuple(sorted(codes, key=lambda code: -code.confidence))


_ROUTINE: dict[str, dict[str, Any]] = {
    "outpatient": {"complexity": "low"},
    "emergency": {"emergency_level": 2},
    "same-day-surgery": {},
    "inpatient": {"drg": "195"},
}


@pytest.fixture(autouse=True)
def _weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CodeSystems, "drg_weights", lambda self, on: {"193": 1.3, "195": 0.7})


def ask(
    gateway: TestClient, text: str, *, setting: str, note_type: str = "progress-note", **more: Any
) -> dict[str, Any]:
    body = {
        "record_id": "r1",
        # A stay whose DRG weighs little, and a visit of low complexity: else the routing policy goes before the review.
        "encounter": {"setting": setting, "specialty": "medicine", **_ROUTINE[setting], **more},
        "notes": [{"note_id": "n1", "type": note_type, "text": text}],
    }
    response = gateway.post("/v1/suggestions", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def codes_of(answer: dict[str, Any]) -> list[str]:
    return [code["code"] for code in answer["codes"]]


def rules_of(answer: dict[str, Any]) -> list[str]:
    return [finding["rule"] for finding in answer["findings"]]


@pytest.mark.parametrize("setting", ["outpatient", "emergency", "same-day-surgery"])
def test_outside_hospital_a_possible_pneumonia_is_not_coded(gateway: TestClient, primary: Any, setting: str) -> None:
    primary.codes = scored(PNEUMONIA, J18_9=("pneumonia", 0.99), R05_9=("Cough", 0.97))
    answer = ask(gateway, PNEUMONIA, setting=setting)
    assert codes_of(answer) == ["R05.9"]
    [finding] = [finding for finding in answer["findings"] if finding["codes"] == ["icd10cm:J18.9"]]
    assert (finding["rule"], finding["severity"]) == ("uncertain-outpatient", "warning")
    assert "IV.H" in finding["source"]
    assert answer["route"]["decision"] == "assisted"
    assert "code-withheld" in answer["route"]["rules"]


def test_at_discharge_a_possible_pneumonia_is_coded_as_if_it_existed(gateway: TestClient, primary: Any) -> None:
    primary.codes = scored(DISCHARGE, J18_9=("pneumonia", 0.99))
    answer = ask(gateway, DISCHARGE, setting="inpatient", note_type="discharge-summary")
    assert codes_of(answer) == ["J18.9"]
    assert not [rule for rule in rules_of(answer) if rule.startswith("uncertain")]
    assert "code-withheld" not in answer["route"]["rules"]


def test_an_uncertainty_of_the_admission_alone_is_not_one_at_discharge(gateway: TestClient, primary: Any) -> None:
    primary.codes = scored(PNEUMONIA, J18_9=("pneumonia", 0.99), R05_9=("Cough", 0.97))
    answer = ask(gateway, PNEUMONIA, setting="inpatient", note_type="history-and-physical")
    assert codes_of(answer) == ["R05.9"]
    assert "uncertain-not-at-discharge" in rules_of(answer)


def test_hiv_is_never_coded_on_uncertainty(gateway: TestClient, primary: Any) -> None:
    text = "Discharge diagnosis: probable HIV disease."
    primary.codes = scored(text, B20=("HIV disease", 0.99))
    answer = ask(gateway, text, setting="inpatient", note_type="discharge-summary")
    assert codes_of(answer) == []
    # Nothing is left to suggest: people code without it, and are told no codes.
    assert answer["route"]["decision"] == "manual"


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("Hypertension, stable. No evidence of pneumonia.", "pneumonia"),
        ("Hypertension, stable. Denies pneumonia.", "pneumonia"),
        ("Hypertension, stable. Family history: father with pneumonia.", "pneumonia"),
        ("Hypertension, stable. Return if pneumonia develops.", "pneumonia"),
    ],
)
@pytest.mark.parametrize(("setting", "note_type"), [("outpatient", "office-visit"), ("inpatient", "discharge-summary")])
def test_what_the_note_denies_is_never_suggested(
    gateway: TestClient, primary: Any, text: str, mention: str, setting: str, note_type: str
) -> None:
    primary.codes = scored(text, J18_9=(mention, 0.99), I10=("Hypertension", 0.98))
    answer = ask(gateway, text, setting=setting, note_type=note_type)
    assert codes_of(answer) == ["I10"]


def test_one_affirmed_mention_among_denied_ones_suffices(gateway: TestClient, primary: Any) -> None:
    text = "Denied pneumonia in the past. Now community acquired pneumonia on film."
    last = text.rindex("pneumonia")
    spans = (
        EvidenceSpan(note_id="n1", start=7, end=16),
        EvidenceSpan(note_id="n1", start=last, end=last + 9),
    )
    primary.codes = (
        PredictedCode(system=CodeSystem.ICD10CM, code="J18.9", confidence=0.99, suggested=True, evidence=spans),
    )
    answer = ask(gateway, text, setting="outpatient")
    assert codes_of(answer) == ["J18.9"]


def routed(gateway: TestClient, primary: Any, codes: Sequence[PredictedCode], text: str, **more: Any) -> dict[str, Any]:
    primary.codes = tuple(codes)
    return ask(gateway, text, setting="outpatient", **more)


def test_a_blocking_finding_is_never_autonomous(gateway: TestClient, primary: Any) -> None:
    text = "Type 1 diabetes and type 2 diabetes, both stable. On metformin."
    both = scored(text, E10_9=("Type 1 diabetes", 0.99), E11_9=("type 2 diabetes", 0.98))
    alone = routed(gateway, primary, both[1:], text)
    assert alone["route"]["decision"] == "autonomous"
    answer = routed(gateway, primary, both, text)
    assert answer["route"]["decision"] == "assisted"
    assert "blocking-finding" in answer["route"]["rules"]
    [finding] = [finding for finding in answer["findings"] if finding["severity"] == "blocking"]
    assert finding["rule"] == "excludes1-conflict"
    assert sorted(finding["codes"]) == ["icd10cm:E10.9", "icd10cm:E11.9"]


def test_a_code_is_judged_by_the_date_of_service(gateway: TestClient, primary: Any) -> None:
    text = "Essential hypertension, stable."
    codes = scored(text, I10=("hypertension", 0.99))
    answer = routed(gateway, primary, codes, text, service_start="2026-05-01")
    assert [finding for finding in answer["findings"] if finding["severity"] == "blocking"] == []


def test_documentation_gaps_are_asked_about(gateway: TestClient, primary: Any) -> None:
    text = "Follow-up of heart failure, on furosemide. Echo with ejection fraction 30%. Continue carvedilol."
    answer = routed(gateway, primary, scored(text, I50_9=("heart failure", 0.99)), text)
    [query] = [query for query in answer["queries"] if query["topic"] == "heart-failure-reduced-ejection-fraction"]
    assert query["options"][-2:] == ["Other (please specify)", "Unable to determine"]
    for indicator in query["indicators"]:
        assert text[indicator["start"] : indicator["end"]] == indicator["text"]


def test_the_manual_route_withholds_findings_and_queries(gateway: TestClient, primary: Any) -> None:
    text = "Follow-up of heart failure, on furosemide. Echo with ejection fraction 30%. Continue carvedilol."
    answer = routed(gateway, primary, scored(text, I50_9=("heart failure", 0.05)), text)
    assert (answer["route"]["decision"], answer["findings"], answer["queries"]) == ("manual", [], [])


STAY = "Discharge diagnosis:\n1. Community acquired pneumonia\n2. Acute hypoxic respiratory failure\n"


def test_a_stay_gets_its_working_drg_and_says_which_code_moves_it(gateway: TestClient, primary: Any) -> None:
    primary.codes = scored(STAY, J18_9=("pneumonia", 0.8), J96_01=("respiratory failure", 0.9))
    answer = ask(gateway, STAY, setting="inpatient", note_type="discharge-summary", service_end="2026-05-04")
    grouping = answer["grouping"]
    # The first final diagnosis, not the surest code.
    assert (grouping["principal"], grouping["is_working"]) == ("icd10cm:J18.9", True)
    assert (grouping["drg"], grouping["drg_without_complications"], grouping["grouper_version"]) == (
        "193",
        "195",
        "v43.1",
    )
    [mover] = [effect for effect in grouping["effects"] if effect["drg_without"]]
    assert (mover["key"], mover["level"], mover["drg_without"]) == ("icd10cm:J96.01", "mcc", "195")


@pytest.mark.parametrize(
    ("text", "setting"),
    [(STAY, "outpatient"), ("Hospital course: pneumonia, treated. Acute respiratory failure resolved.", "inpatient")],
)
def test_without_a_stay_or_its_final_diagnoses_there_is_no_drg(
    gateway: TestClient, primary: Any, text: str, setting: str
) -> None:
    primary.codes = scored(text, J18_9=("pneumonia", 0.9))
    answer = ask(gateway, text, setting=setting, note_type="discharge-summary")
    assert answer["grouping"] is None
