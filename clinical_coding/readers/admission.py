"""The last look at a record before it leaves a reader: known codes, one split a patient, no twins.

Memory grows by the ids alone, never by the notes.
"""

import hashlib

from clinical_coding.code_library import ICD10CM_RELEASE, CodeLibrary, load_icd10cm
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.records import CodedRecord, Split

__all__ = ["Admission", "PatientInTwoSplitsError", "assign_split"]


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

    def __init__(self) -> None:
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
        for position, code in enumerate(record.codes):
            if code.system is CodeSystem.ICD10CM and code.release in (None, ICD10CM_RELEASE):
                _judge(code, position=position)
        split = record.split or assign_split(record.patient_id)
        known_split, witness = self._patients.setdefault(record.patient_id, (split, record.record_id))
        if known_split is not split:
            raise PatientInTwoSplitsError(
                f"records {witness!r} ({known_split}) and {record.record_id!r} ({split}) are of one patient, "
                "whose records must all be in one split; state the same split on both, or none on any record"
            )
        self._record_ids.add(record.record_id)
        return record if record.split else record.model_copy(update={"split": split})


def _judge(code: Code, *, position: int) -> None:
    library = load_icd10cm()
    if not library.is_valid(code.code):
        raise ValueError(
            f"codes.{position}.code: {code.code!r} is not a code of ICD-10-CM {ICD10CM_RELEASE}"
            f"{_hint(code.code, library=library)}; correct it, or state the release that it belongs to"
        )


def _hint(code: str, *, library: CodeLibrary) -> str:
    entry = library.nearest_ancestor(code)
    if entry is None:
        return ""
    return f" (its category {entry.code} has more specific ones)" if entry.code == code else f" (nearest: {entry.code})"
