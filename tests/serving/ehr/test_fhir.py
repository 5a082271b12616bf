"""FHIR R4: resources in, resources out, and the decision in between."""

import base64
import json
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from starlette.testclient import TestClient

from clinical_coding.codes import CodeSystem
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Setting
from serving.ehr.fhir_reading import read_chart, read_request
from serving.gateway.problems import ProblemError
from tests.serving.gateway.conftest import CODES, ScriptedBackend

PATH = "/v1/fhir/suggestions"


def post(gateway: TestClient, key: str, resource: Any, query: str = "", **headers: str) -> Any:
    sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/fhir+json", **headers}
    return gateway.post(PATH + query, content=json.dumps(resource), headers=sent)


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    Bundle.model_validate(bundle)
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def of(chart: dict[str, Any], kind: str) -> dict[str, Any]:
    [found] = [entry["resource"] for entry in chart["entry"] if entry["resource"]["resourceType"] == kind]
    return found  # type: ignore[no-any-return]


def test_a_chart_is_read(chart: dict[str, Any]) -> None:
    asked = read_request(read_chart(chart), specialties={})
    assert (asked.record_id, asked.patient_id) == ("example", "example")
    encounter = asked.encounter
    assert (encounter.setting, encounter.specialty, encounter.age, encounter.sex) == (
        Setting.OUTPATIENT,
        "unspecified",
        9,
        "F",
    )
    assert (str(encounter.service_start), encounter.provider_id, encounter.facility_id) == (
        "2016-03-09",
        "practitioner-1",
        "hospital-1",
    )
    [note] = asked.notes
    assert (note.note_id, note.type, note.text[:9]) == ("episode-summary", "ccd-document", "Follow-up")


@pytest.mark.parametrize(
    ("code", "setting"),
    [("EMER", Setting.EMERGENCY), ("SS", Setting.SAME_DAY_SURGERY), ("IMP", Setting.INPATIENT), ("HH", None)],
)
def test_class_tells_the_setting(chart: dict[str, Any], code: str, setting: Setting | None) -> None:
    of(chart, "Encounter")["class"]["code"] = code
    if setting is None:
        with pytest.raises(ProblemError, match=r"Bundle\.entry\.0\.resource\.class\.code: is none"):
            read_request(read_chart(chart), specialties={})
    else:
        assert read_request(read_chart(chart), specialties={}).encounter.setting is setting


def test_specialty_goes_by_the_table_then_by_its_text(chart: dict[str, Any]) -> None:
    of(chart, "Encounter")["serviceType"] = {"coding": [{"code": "394579002", "display": "Cardiology (qualifier)"}]}
    assert read_request(read_chart(chart), specialties={}).encounter.specialty == "cardiology-qualifier"
    mapped = read_request(read_chart(chart), specialties={"394579002": "cardiology"})
    assert mapped.encounter.specialty == "cardiology"


def test_charsets_of_notes(chart: dict[str, Any]) -> None:
    binary = of(chart, "Binary")
    binary |= {"contentType": "text/plain; charset=ISO-8859-1", "data": base64.b64encode(b"caf\xe9").decode()}
    assert read_request(read_chart(chart), specialties={}).notes[0].text == "café"
    binary["contentType"] = "text/plain"
    with pytest.raises(ProblemError, match="not text in utf-8"):
        read_request(read_chart(chart), specialties={})


def test_a_bundle_gives_conditions_procedures_a_claim_and_provenance(
    gateway: TestClient, key: str, chart: dict[str, Any], model: ScriptedBackend
) -> None:
    visit = PredictedCode(
        system=CodeSystem.CPT, code="99213", confidence=0.8, suggested=True, evidence=CODES[0].evidence
    )
    model.codes = (CODES[0], visit)
    response = post(gateway, key, chart)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/fhir+json"
    bundle = response.json()
    [condition], [procedure] = resources(bundle, "Condition"), resources(bundle, "Procedure")
    [coding] = condition["code"]["coding"]
    assert (coding["system"], coding["code"]) == ("http://hl7.org/fhir/sid/icd-10-cm", "I10")
    assert condition["verificationStatus"]["coding"][0]["code"] == "provisional"
    assert procedure["code"]["coding"][0] == {"system": "http://www.ama-assn.org/go/cpt", "code": "99213"}
    [claim] = resources(bundle, "Claim")
    assert claim["status"] == "draft" and [item["sequence"] for item in claim["item"]] == [1]
    assert claim["diagnosis"][0]["diagnosisCodeableConcept"]["coding"][0]["code"] == "I10"
    [provenance] = resources(bundle, "Provenance")
    [agent] = provenance["agent"]
    assert agent["who"]["display"] == "clinical-coder version 3"
    urls = {entry["fullUrl"] for entry in bundle["entry"]}
    assert {target["reference"] for target in provenance["target"]} < urls


def test_a_decision_gives_final_codes_and_its_human(gateway: TestClient, key: str, chart: dict[str, Any]) -> None:
    suggestion_id = post(gateway, key, chart).json()["id"]
    code = {"action": "modify", "system": "icd10cm", "code": "I10", "to": "I11.9", "reason": "reason-not-told"}
    headers = {"Authorization": f"Bearer {key}"}
    body = {"suggestion_id": suggestion_id, "codes": [code], "seconds_spent": 3.0}
    assert gateway.post("/v1/decisions", json=body, headers=headers | {"Idempotency-Key": "k"}).status_code < 300
    bundle = gateway.get(f"{PATH}/{suggestion_id}", headers=headers).json()
    [condition] = resources(bundle, "Condition")
    assert condition["code"]["coding"][0]["code"] == "I11.9"
    assert condition["verificationStatus"]["coding"][0]["code"] == "confirmed"
    [provenance] = resources(bundle, "Provenance")
    assert [agent["who"]["display"] for agent in provenance["agent"]] == ["clinical-coder version 3", "ada"]


def test_manual_route_tells_no_code(gateway: TestClient, key: str, chart: dict[str, Any]) -> None:
    of(chart, "Encounter")["class"]["code"] = "IMP"
    response = post(gateway, key, chart)
    assert response.status_code == 200 and "I10" not in response.text
    assert resources(response.json(), "Claim") == []


def test_one_document_needs_a_setting(gateway: TestClient, key: str, chart: dict[str, Any]) -> None:
    document = of(chart, "DocumentReference")
    document["content"][0]["attachment"]["data"] = of(chart, "Binary")["data"]
    assert post(gateway, key, document).status_code == 422
    assert post(gateway, key, document, "?setting=outpatient&specialty=cardiology").status_code == 200


def test_the_same_key_is_answered_once(gateway: TestClient, key: str, chart: dict[str, Any]) -> None:
    ids = {post(gateway, key, chart, **{"Idempotency-Key": "one"}).json()["id"] for _ in range(2)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("spoil", "status", "expression"),
    [
        (lambda chart: of(chart, "DocumentReference").update(secret="Amy"), 422, "Bundle.entry.2.resource.*"),
        (lambda chart: of(chart, "Patient").update(gender=["Amy"]), 422, "Bundle.entry.1.resource.gender"),
        (lambda chart: of(chart, "Binary").update(contentType="application/pdf"), 422, None),
        (lambda chart: of(chart, "Binary").update(data="Amy!"), 422, "Bundle.entry.3.resource.data"),
        (lambda chart: chart["entry"].append(chart["entry"][0]), 422, "Bundle.entry.4.resource"),
        (lambda chart: chart.update(resourceType="Amy"), 422, "resourceType"),
        (lambda chart: chart["entry"].append({"resource": 7}), 422, None),
    ],
)
def test_faults_are_operation_outcomes_without_content(
    gateway: TestClient, key: str, chart: dict[str, Any], spoil: Any, status: int, expression: str | None
) -> None:
    spoil(chart)
    response = post(gateway, key, chart)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/fhir+json"
    outcome = response.json()
    assert outcome["resourceType"] == "OperationOutcome" and "Amy" not in response.text
    if expression is not None:
        assert outcome["issue"][0]["expression"] == [expression]


def test_outer_layers_speak_fhir_too(gateway: TestClient, chart: dict[str, Any]) -> None:
    response = gateway.post(PATH, json=chart)
    assert (response.status_code, response.json()["issue"][0]["code"]) == (401, "login")
    assert gateway.get(f"{PATH}/x").json()["resourceType"] == "OperationOutcome"
