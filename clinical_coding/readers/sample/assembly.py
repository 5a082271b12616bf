"""From a case and its notes to a coded record: codes in order, with evidence, modifiers and presence on admission."""

from collections import defaultdict
from collections.abc import Mapping
from random import Random
from typing import Any, Final, Literal

from clinical_coding.code_library import ICD10CM_RELEASE
from clinical_coding.codes import Code, CodeSystem, EvidenceSpan, Provenance
from clinical_coding.readers.admission import assign_split
from clinical_coding.readers.sample.diagnoses import Finding
from clinical_coding.readers.sample.encounters import Case, Performed
from clinical_coding.readers.sample.layouts import WrittenNote, write_notes
from clinical_coding.readers.sample.page import key_of
from clinical_coding.readers.sample.visits import Visit
from clinical_coding.records import CodedRecord, Encounter, Note, Setting

__all__ = ["assemble"]

PROCEDURE_RELEASE: Final = "2026"
SIDE_MODIFIERS: Final = {"right": "RT", "left": "LT"}
EXEMPT_FROM_PRESENCE: Final = ("Z", "W", "O80")
"""Factors influencing health status, external causes and normal delivery have no presence on admission to report."""
SEPARATE_VISIT_MODIFIER: Final = "25"
SEPARATE_VISIT_WORDINGS: Final = frozenset({"injection", "office"})

_PROVENANCE: Final = Provenance(source="sample")
_EvidenceByKey = Mapping[str, tuple[EvidenceSpan, ...]]


def assemble(rng: Random, case: Case, phrases: Mapping[str, Any], *, record_id: str) -> CodedRecord:
    """Write a case up as a coded record.

    Args:
        rng: The patient's own generator.
        case: What happened.
        phrases: The wording of notes.
        record_id: Unique in the sample.
    """
    written = write_notes(rng, case, dict(phrases))
    notes = []
    found: dict[str, list[EvidenceSpan]] = defaultdict(list)
    for number, note in enumerate(written, start=1):
        note_id = f"n{number}"
        notes.append(Note(note_id=note_id, type=note.type, text=note.page.writer.finish(rng)))
        for span in note.page.writer.spans:
            found[span.key].append(EvidenceSpan(note_id=note_id, start=span.start, end=span.end))
    evidence = {key: tuple(spans) for key, spans in found.items()}
    return CodedRecord(
        record_id=record_id,
        patient_id=case.patient.patient_id,
        split=assign_split(case.patient.patient_id),
        encounter=_encounter(case, written),
        notes=tuple(notes),
        codes=(*_diagnoses(case, evidence), *_services(case, written, evidence)),
    )


def _encounter(case: Case, written: list[WrittenNote]) -> Encounter:
    is_emergency = case.setting is Setting.EMERGENCY
    return Encounter(
        setting=case.setting,
        specialty=case.specialty.name,
        payer=case.patient.payer,
        provider_id=case.provider_id,
        facility_id=case.patient.facility_id,
        service_start=case.start,
        service_end=case.end,
        age=case.patient.age,
        sex="F" if case.patient.sex == "F" else "M",
        complexity=case.complexity,
        drg=case.drg,
        emergency_level=written[0].visits[0].level if is_emergency else None,
    )


def _diagnoses(case: Case, evidence: _EvidenceByKey) -> list[Code]:
    return [_diagnosis(case, finding, rank, evidence) for rank, finding in enumerate(case.findings, start=1)]


def _diagnosis(case: Case, finding: Finding, rank: int, evidence: _EvidenceByKey) -> Code:
    code = finding.condition.code
    present: Literal["Y", "N", "1"] | None = None
    if case.setting is Setting.INPATIENT:
        present = "1" if code.startswith(EXEMPT_FROM_PRESENCE) else "N" if finding.is_acquired else "Y"
    return Code(
        system=CodeSystem.ICD10CM,
        release=ICD10CM_RELEASE,
        code=code,
        sequence=rank,
        present_on_admission=present,
        evidence=evidence[f"icd10cm:{code}"],
        provenance=_PROVENANCE,
    )


def _services(case: Case, written: list[WrittenNote], evidence: _EvidenceByKey) -> list[Code]:
    """Visits, then procedures and supplies, numbered apart from the diagnoses as on a claim."""
    visits = [visit for note in written for visit in note.visits]
    first = len(visits) + 1
    return [
        *(_visit(case, visit, rank, evidence) for rank, visit in enumerate(visits, start=1)),
        *(_procedure(performed, rank, evidence) for rank, performed in enumerate(case.performed, start=first)),
    ]


def _visit(case: Case, visit: Visit, rank: int, evidence: _EvidenceByKey) -> Code:
    is_separate = any(item.procedure.wording in SEPARATE_VISIT_WORDINGS for item in case.performed)
    return Code(
        system=CodeSystem.CPT,
        release=PROCEDURE_RELEASE,
        code=visit.code,
        sequence=rank,
        modifiers=(SEPARATE_VISIT_MODIFIER,) if is_separate else (),
        evidence=evidence[f"cpt:{visit.code}"],
        provenance=_PROVENANCE,
    )


def _procedure(performed: Performed, rank: int, evidence: _EvidenceByKey) -> Code:
    return Code(
        system=performed.procedure.system,
        release=PROCEDURE_RELEASE,
        code=performed.procedure.code,
        sequence=rank,
        modifiers=(SIDE_MODIFIERS[performed.side],) if performed.side else (),
        evidence=evidence[key_of(performed)],
        provenance=_PROVENANCE,
    )
