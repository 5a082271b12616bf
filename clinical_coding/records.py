"""Encounters, notes and coded records: stage 1 of the flow speaks in these."""

import hashlib
from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from clinical_coding.artefact import Artefact
from clinical_coding.codes import Code, CodeState

__all__ = [
    "SCHEMA_VERSION",
    "CodedRecord",
    "Complexity",
    "Encounter",
    "Note",
    "Setting",
    "Split",
    "Unlisted",
    "hash_notes",
]

SCHEMA_VERSION: Final = 1

Identifier = Annotated[str, Field(min_length=1, max_length=128)]


class Setting(StrEnum):
    """Where care was given; the coding guidelines differ by it."""

    OUTPATIENT = "outpatient"
    EMERGENCY = "emergency"
    SAME_DAY_SURGERY = "same-day-surgery"
    INPATIENT = "inpatient"


class Complexity(StrEnum):
    """How involved the encounter is to code."""

    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"


class Split(StrEnum):
    """The part of a corpus that a record belongs to; patients never cross."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


class Unlisted(StrEnum):
    """What it means that a code is not listed on a record."""

    ABSENT = "absent"
    """The record is complete: a code that is not listed is a negative."""
    UNKNOWN = "unknown"
    """Only what is listed was looked at: nothing is known of other codes, and they are masked out."""


class Encounter(Artefact):
    """The circumstances of care. Only setting and specialty are required."""

    setting: Setting
    specialty: Identifier
    payer: str | None = None
    provider_id: str | None = None
    facility_id: str | None = None
    service_start: date | None = None
    service_end: date | None = None
    age: Annotated[int, Field(ge=0, le=130)] | None = None
    """Years, at the start of service."""
    sex: Literal["F", "M", "X"] | None = None
    complexity: Complexity | None = None
    drg: str | None = None
    """MS-DRG number, of inpatient encounters."""
    emergency_level: Annotated[int, Field(ge=1, le=5)] | None = None
    """Emergency department visit level, 1 to 5."""
    flags: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.service_start and self.service_end and self.service_end < self.service_start:
            raise ValueError("service_end must not be before service_start; check the two dates")
        return self


class Note(Artefact):
    """One clinical document."""

    note_id: Identifier
    type: str = "note"
    text: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.text.strip():
            raise ValueError("text must hold more than white space; leave the note out instead")
        return self


def hash_notes(notes: Iterable[Note]) -> str:
    """Hash what some notes say, in their order: tells whether two encounters carry the same documentation."""
    digest = hashlib.sha256()
    for note in notes:
        digest.update(hashlib.sha256(note.text.encode()).digest())
    return digest.hexdigest()


class CodedRecord(Artefact):
    """An encounter, its notes and the codes that stand on it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    record_id: Identifier
    patient_id: Identifier
    split: Split | None = None
    encounter: Encounter
    notes: Annotated[tuple[Note, ...], Field(min_length=1)]
    codes: tuple[Code, ...] = ()
    unlisted: Unlisted = Unlisted.ABSENT

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        lengths = {note.note_id: len(note.text) for note in self.notes}
        if len(lengths) != len(self.notes):
            raise ValueError("notes must have distinct note_id values")
        for code in self.codes:
            for span in code.evidence:
                if span.note_id not in lengths:
                    raise ValueError(
                        f"evidence of code {code.code} names note_id {span.note_id!r}, which is not on the record"
                    )
                if span.end > lengths[span.note_id]:
                    raise ValueError(
                        f"evidence [{span.start}, {span.end}) of code {code.code} is out of range: "
                        f"note {span.note_id!r} has {lengths[span.note_id]} characters"
                    )
        if len({(code.key, code.modifiers) for code in self.codes}) != len(self.codes):
            raise ValueError("codes must not repeat one system, code and modifiers; merge them")
        return self

    def keys(self, state: CodeState = CodeState.POSITIVE) -> frozenset[str]:
        """The label keys of the codes in one state."""
        return frozenset(code.key for code in self.codes if code.state is state)
