"""Every rule of the policy that is shipped, as a client of the gateway meets it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeSystem, EvidenceSpan
from clinical_coding.predictions import PredictedCode
from clinical_coding.suggestions import VersionName
from scripts.answer_rules import load_rules
from serving.gateway.active import ActiveVersion, ServedVersion
from serving.gateway.settings import GatewaySettings
from serving.routing import Router

RULES = load_rules(Path("none"))
VISIT = "Follow-up of essential hypertension. Blood pressure at goal. Continue lisinopril."
STAY = "Discharge diagnosis: pneumonia. Treated with ceftriaxone."
WEIGHTS = {"195": 0.7, "193": 1.3, "003": 19.0}
ROUTINE = {"setting": "outpatient", "specialty": "cardiology", "complexity": "low", "age": 60, "sex": "F"}
INPATIENT = {"setting": "inpatient", "specialty": "medicine", "age": 60, "sex": "F", "service_start": "2025-11-02"}
INPATIENT |= {"service_end": "2025-11-06"}


def scored(text: str, **mentions: str) -> list[PredictedCode]:
    """Codes that the model is sure of, each with the words that it points at: ``icd10cm_I10="hypertension"``."""
    codes = []
    for name, mention in mentions.items():
        system, _, number = name.partition("_")
        start = text.index(mention)
        codes.append(
            PredictedCode(
                system=CodeSystem(system),
                code=number.replace("_", "."),
                confidence=0.99,
                suggested=True,
                evidence=(EvidenceSpan(note_id="n1", start=start, end=start + len(mention)),),
            )
        )
    return codes


@pytest.fixture
def route(
    make_app: Callable[..., TestClient], engine: Engine, key: str, primary: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Ask for a suggestion of some codes, under the shipped policy and a few lines more; give the whole answer."""

    def route_(text: str, encounter: dict[str, Any], watch_list: Any = (), **mentions: str) -> dict[str, Any]:
        monkeypatch.setattr(CodeSystems, "drg_weights", lambda self, on: WEIGHTS)
        monkeypatch.setattr(CodeSystems, "changed_since", lambda self, system, day: frozenset({"R05.9"}))
        policy = RULES.router.rules.model_dump() | {"watch_list": watch_list}
        router = Router(type(RULES.router.rules).model_validate(policy), systems=RULES.systems)
        served = ServedVersion.join(
            VersionName(name="clinical-coder", number=3, alias=None, bundle_sha256="a" * 64),
            labels=(),
            primary=primary,
            fallback=None,
            settings=GatewaySettings(),
            rules=replace(RULES, router=router),
        )
        client = make_app(engine, active=ActiveVersion(served))
        primary.codes = scored(text, **mentions)
        body = {"record_id": "r1", "encounter": encounter, "notes": [{"note_id": "n1", "text": text}]}
        response = client.post("/v1/suggestions", json=body, headers={"Authorization": f"Bearer {key}"})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    return route_


EMERGENCY = ROUTINE | {"setting": "emergency", "specialty": "emergency-medicine"}
SURGERY = ROUTINE | {"setting": "same-day-surgery", "specialty": "general-surgery"}
COUGH = "Cough for two days. Lungs clear. Discharged home."
HERNIA = "Right inguinal hernia. Open repair of inguinal hernia done."
INFECTION = "Wound infection after surgery."
DIABETES = "Type 2 diabetes mellitus. Type 1 diabetes mellitus."
HEART = "Heart failure, on furosemide."
I10 = {"icd10cm_I10": "hypertension"}
J18_9 = {"icd10cm_J18_9": "pneumonia"}

# The rule, the route that is taken, the note, the encounter, the codes; and a watch list where one is needed.
CASES: list[tuple[str, str, str, dict[str, Any], dict[str, str]]] = [
    ("outpatient-not-routine", "assisted", VISIT, ROUTINE | {"complexity": "moderate"}, I10),
    ("outpatient-not-routine", "assisted", VISIT, ROUTINE | {"complexity": None}, I10),
    ("emergency-level-4-up", "assisted", COUGH, EMERGENCY | {"emergency_level": 4}, {"icd10cm_I10": "Cough"}),
    ("emergency-level-4-up", "assisted", COUGH, EMERGENCY, {"icd10cm_I10": "Cough"}),
    ("emergency-level-4-up", "assisted", COUGH, EMERGENCY | {"emergency_level": 2}, {"cpt_99284": "Discharged"}),
    ("surgery-not-single", "assisted", HERNIA, SURGERY, {"icd10cm_K40_90": "inguinal hernia"}),
    ("surgery-not-single", "assisted", HERNIA, SURGERY, {"cpt_49505": "repair", "cpt_49650": "Open"}),
    ("inpatient-needs-coder", "assisted", STAY, INPATIENT, J18_9),
    ("drg-weight-high", "manual", STAY, INPATIENT | {"drg": "3"}, J18_9),
    ("drg-weight-unknown", "manual", STAY, INPATIENT | {"drg": "500"}, J18_9),
    ("drg-weight-unknown", "manual", VISIT, INPATIENT, I10),
    ("complication-flagged", "manual", VISIT, ROUTINE | {"flags": ["complication"]}, I10),
    ("complication-of-care", "manual", INFECTION, ROUTINE, {"icd10cm_T81_41XA": "Wound infection"}),
    ("experimental-flagged", "assisted", VISIT, ROUTINE | {"flags": ["investigational"]}, I10),
    ("experimental-code", "assisted", VISIT, ROUTINE, {"cpt_0042T": "hypertension"}),
    ("experimental-in-note", "assisted", f"{VISIT} Enrolled in a clinical\ntrial.", ROUTINE, I10),
    ("code-changed-lately", "assisted", COUGH, ROUTINE, {"icd10cm_R05_9": "Cough"}),
    ("blocking-finding", "assisted", DIABETES, ROUTINE, {"icd10cm_E11_9": "Type 2", "icd10cm_E10_9": "Type 1"}),
    ("code-withheld", "assisted", f"Denies chest pain. {VISIT}", ROUTINE, I10 | {"icd10cm_R07_9": "chest pain"}),
    ("documentation-gap", "assisted", HEART, INPATIENT | {"drg": "195"}, {"icd10cm_I50_9": "Heart failure"}),
    ("high-cost-drg", "manual", STAY, INPATIENT | {"drg": "003"}, J18_9),
]


@pytest.mark.parametrize(("rule", "decision", "text", "encounter", "codes"), CASES)
def test_each_rule_of_the_shipped_policy(
    route: Callable[..., dict[str, Any]],
    rule: str,
    decision: str,
    text: str,
    encounter: dict[str, Any],
    codes: dict[str, str],
) -> None:
    answer = route(text, encounter, **codes)
    assert rule in answer["route"]["rules"]
    assert "confidence-reaches-threshold" in answer["route"]["rules"]
    # A rule may fire beside a more cautious one; alone it gives the route that its line names.
    assert answer["route"]["decision"] == decision
    assert (answer["codes"] == []) is (answer["route"]["decision"] == "manual")


def test_no_rule_of_the_shipped_policy_is_left_out() -> None:
    assert {case[0] for case in CASES} == {rule.name for rule in RULES.router.rules.rules}
    assert all(rule.effective_from is None for rule in RULES.router.rules.rules)


@pytest.mark.parametrize(
    ("text", "encounter", "codes"),
    [
        (VISIT, ROUTINE, I10),
        (COUGH, EMERGENCY | {"emergency_level": 3}, {"icd10cm_I10": "Cough"}),
        (COUGH, EMERGENCY, {"cpt_99283": "Discharged"}),
        (HERNIA, SURGERY, {"icd10cm_K40_90": "inguinal hernia", "cpt_49505": "repair"}),
        # Denied is not affirmed.
        (f"{VISIT} No experimental treatment was given.", ROUTINE, I10),
    ],
)
def test_what_is_routine_is_coded_by_the_model_alone(
    route: Callable[..., dict[str, Any]], text: str, encounter: dict[str, Any], codes: dict[str, str]
) -> None:
    answer = route(text, encounter, **codes)
    assert answer["route"] == {
        "decision": "autonomous",
        "rules": ["confidence-reaches-threshold"],
        "record_confidence": 0.99,
    }


@pytest.mark.parametrize(
    ("line", "encounter", "rule"),
    [
        ({"provider_id": "d7"}, {"provider_id": "d7"}, "provider-on-watch-list"),
        ({"payer": "medicare"}, {"payer": "medicare"}, "payer-on-watch-list"),
    ],
)
def test_whoever_is_on_the_watch_list_is_coded_by_people_for_a_while(
    route: Callable[..., dict[str, Any]], line: dict[str, str], encounter: dict[str, str], rule: str
) -> None:
    watched = line | {"reason": "Denials rose.", "effective_to": date.today()}
    answer = route(VISIT, ROUTINE | encounter, [watched], **I10)
    assert (answer["route"]["decision"], answer["route"]["rules"][1:]) == ("assisted", [rule])
