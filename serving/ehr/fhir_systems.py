"""URIs and codes of FHIR R4 beside this product's words. It does not know resources.

Source: HL7 Terminology (THO) for the URIs of code systems and the codes of v3-ActCode.
"""

from collections.abc import Mapping
from typing import Final

from clinical_coding.codes import CodeSystem
from clinical_coding.records import Setting

__all__ = ["SETTINGS", "SEXES", "SYSTEM_URIS", "THO"]

THO: Final = "http://terminology.hl7.org/CodeSystem/"
SYSTEM_URIS: Final[Mapping[CodeSystem, str]] = {
    CodeSystem.ICD10CM: "http://hl7.org/fhir/sid/icd-10-cm",
    CodeSystem.ICD10PCS: "http://www.cms.gov/Medicare/Coding/ICD10",
    CodeSystem.CPT: "http://www.ama-assn.org/go/cpt",
    CodeSystem.HCPCS: "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
}
SETTINGS: Final[Mapping[str, Setting]] = {
    "AMB": Setting.OUTPATIENT,
    "VR": Setting.OUTPATIENT,
    # Observation is billed as outpatient care.
    "OBSENC": Setting.OUTPATIENT,
    "EMER": Setting.EMERGENCY,
    # Short stay: surgery with discharge on the same day.
    "SS": Setting.SAME_DAY_SURGERY,
    "IMP": Setting.INPATIENT,
    "ACUTE": Setting.INPATIENT,
    "NONAC": Setting.INPATIENT,
}
"""Setting by ``Encounter.class``; other classes, such as home health, are coded by rules of their own."""
SEXES: Final[Mapping[str, str]] = {"female": "F", "male": "M", "other": "X"}
