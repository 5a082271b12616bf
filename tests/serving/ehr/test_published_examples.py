"""What HL7 itself publishes as examples of FHIR R4 is read, and sent to the gateway, unchanged."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from starlette.testclient import TestClient

from serving.ehr.fhir_reading import Chart

EXAMPLES = Path(sys.prefix) / "fhir-r4-examples"
KINDS = ("Binary", "Coverage", "DocumentReference", "Encounter", "Patient")

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="hl7.fhir.r4.examples is not installed: no npm")


def published() -> list[Path]:
    return sorted(path for kind in KINDS for path in EXAMPLES.glob(f"{kind}-*.json"))


def test_each_example_of_what_is_read_is_read() -> None:
    read = 0
    for path in published():
        resource: dict[str, Any] = json.loads(path.read_text())
        Chart().add(resource, field=path.stem)
        read += resource["resourceType"] in KINDS
    # Version 4.0.1 of the examples is fixed for good.
    assert read == 39


def test_the_example_of_a_document_that_is_sent_is_answered(gateway: TestClient, key: str) -> None:
    content = (EXAMPLES / "Bundle-xds.json").read_bytes()
    sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/fhir+json"}
    answer = gateway.post("/v1/fhir/suggestions?setting=outpatient", content=content, headers=sent)
    assert answer.status_code == 200, answer.text
    kinds = [entry.resource.get_resource_type() for entry in Bundle.model_validate(answer.json()).entry]
    assert {"Condition", "Provenance"} <= set(kinds)
