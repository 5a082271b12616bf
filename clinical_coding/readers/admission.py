"""The last look at a record before it leaves a reader: known codes, one split a patient, no twins.

A code that states a held release must be valid in it; one that states another passes. A code without a release must
be known to some held release of its system: that it is deleted, not yet effective or a heading on the day of service
is for its reader to count, map or drop. Memory grows by the ids alone, never by the notes.
"""

import hashlib
from datetime import date

from clinical_coding.code_library import CodeLibrary
from clinical_coding.code_systems import CodeSystems, Standing, date_of_coding
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.records import CodedRecord, Split

__all__ = ["Admission", "PatientInTwoSplitsError", "assign_split"]

_NAMES = {
    CodeSystem.ICD10CM: "ICD-10-CM",
    CodeSystem.ICD10PCS: "ICD-10-PCS",
    CodeSystem.HCPCS: "HCPCS",
    CodeSystem.CPT: "CPT",
}


class PatientInTwoSplitsError(ValueError):
    """One patient's records lie in two splits, so that a measure on one would leak from the other."""


def assign_split(patient_id: str) -> Split:
    """Give a patient's records their split: 80% train, 10% dev, 10% test.

    The split depends on the SHA-256 of the id alone, so it is the same in every source, order,
    process and release.
    """
    digest = hashlib.sha256(patient_id.encode()).digest()
    share = int.from_bytes(digest[:8]) / 2**64
    if share < 0.8:
        return Split.TRAIN
    return Split.DEV if share < 0.9 else Split.TEST


class Admission:
    """Admits the records of one source, one after the other."""

    def __init__(self, systems: CodeSystems | None = None) -> None:
        """Begin a source.

        Args:
            systems: The held releases that codes are judged by; default: the embedded one.
        """
        self._systems = systems or CodeSystems.embedded()
        self._record_ids: set[str] = set()
        self._patients: dict[str, tuple[Split, str]] = {}

    def admit(self, record: CodedRecord) -> CodedRecord:
        """Judge a record's codes and id, and give it a split where it states none.

        Raises:
            PatientInTwoSplitsError: Another record of the patient is in another split.
            ValueError: A code is unknown to its release, or the record id was read before.
        """
        if record.record_id in self._record_ids:
            raise ValueError(f"record_id {record.record_id!r} was read before; give every record its own")
        day = date_of_coding(record.encounter)
        for position, code in enumerate(record.codes):
            _judge(code, position=position, systems=self._systems, day=day)
        split = record.split or assign_split(record.patient_id)
        known_split, witness = self._patients.setdefault(record.patient_id, (split, record.record_id))
        if known_split is not split:
            raise PatientInTwoSplitsError(
                f"records {witness!r} ({known_split}) and {record.record_id!r} ({split}) are of one patient, "
                "whose records must all be in one split; state the same split on both, or none on any record"
            )
        self._record_ids.add(record.record_id)
        return record if record.split else record.model_copy(update={"split": split})


def _judge(code: Code, *, position: int, systems: CodeSystems, day: date | None) -> None:
    if code.release is None:
        judging = systems.judging(code.system, day)
        is_admitted = systems.standing(code.system, code.code, day) is not Standing.UNKNOWN
    else:
        judging = systems.named(code.system, code.release)
        is_admitted = judging is None or systems.standing_in(judging, code.code, day) is Standing.VALID
    if judging is None or is_admitted:
        return
    hint = _hint(code.code, library=systems.library(judging)) if code.system is CodeSystem.ICD10CM else ""
    raise ValueError(
        f"codes.{position}.code: {code.code!r} is not a code of {_NAMES[code.system]} {judging.name}{hint}; "
        "correct it, or state the release that it belongs to"
    )


def _hint(code: str, *, library: CodeLibrary) -> str:
    entry = library.nearest_ancestor(code)
    if entry is None:
        return ""
    return f" (its category {entry.code} has more specific ones)" if entry.code == code else f" (nearest: {entry.code})"
