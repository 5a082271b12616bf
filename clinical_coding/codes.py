"""Codes as they stand on a record: system, release, number, state, evidence, provenance.

Whether a code is valid in its release is the code library's business (``code_library``);
here only its written form is judged.
"""

import re
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from clinical_coding.artefact import Artefact

__all__ = ["Code", "CodeState", "CodeSystem", "EvidenceSpan", "Provenance", "normalise_code", "split_key"]


class CodeSystem(StrEnum):
    """The four code systems that a US claim draws on."""

    ICD10CM = "icd10cm"
    ICD10PCS = "icd10pcs"
    CPT = "cpt"
    HCPCS = "hcpcs"


class CodeState(StrEnum):
    """What is known of a code on a record.

    ``unknown`` is a code that a coder accepted and nobody audited: it is masked out of the
    training loss, never taken for gold.
    """

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNKNOWN = "unknown"


_FORMS = {
    CodeSystem.ICD10CM: (
        # The second character is a digit, but for the A of categories such as QA0 (since October 2025).
        re.compile(r"[A-Z][0-9A][0-9A-Z](\.[0-9A-Z]{1,4})?"),
        "a letter, a digit (or A), a third character, then a dot and up to four more: I21.4",
    ),
    CodeSystem.ICD10PCS: (
        re.compile(r"[0-9A-HJ-NP-Z]{7}|[0-9A-HJ-NP-Z]{4}"),
        "seven characters without I and O (four for a CodiEsp stem): 02703DZ",
    ),
    CodeSystem.CPT: (re.compile(r"\d{4}[0-9FTUM]"), "five characters, the last a digit, F, T, U or M: 99214"),
    CodeSystem.HCPCS: (re.compile(r"[A-V]\d{4}"), "a letter from A to V and four digits: J1885"),
}


def normalise_code(system: CodeSystem, code: str) -> str:
    """Write a code in its system's usual form: upper case, the ICD-10-CM dot in place.

    Raises:
        ValueError: The code cannot be one of this system's.
    """
    written = code.strip().upper()
    if system is CodeSystem.ICD10CM and len(written) > 3 and "." not in written:
        written = f"{written[:3]}.{written[3:]}"
    form, expected = _FORMS[system]
    if not form.fullmatch(written):
        # The value is cut, so that prose put here by mistake is not repeated whole.
        raise ValueError(f"code {written[:8]!r} is not a code of {system}; expected {expected}")
    return written


def split_key(key: str) -> tuple[CodeSystem, str]:
    """Take a label key such as ``icd10cm:I21.4`` apart."""
    system, _, code = key.partition(":")
    return CodeSystem(system), code


class EvidenceSpan(Artefact):
    """The stretch of a note that supports a code, as character offsets."""

    note_id: str
    start: Annotated[int, Field(ge=0)]
    """First character."""
    end: int
    """One past the last character."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"end {self.end} must be greater than start {self.start}; give offsets in characters")
        return self


class Provenance(Artefact):
    """Where a code on a record comes from."""

    source: Literal["coded-record", "adjudication", "decision", "sample"] = "coded-record"
    adjudication_id: str | None = None

    @model_validator(mode="after")
    def _adjudication_named(self) -> Self:
        if (self.source == "adjudication") != (self.adjudication_id is not None):
            raise ValueError("adjudication_id must be given for source 'adjudication', and for no other source")
        return self


class Code(Artefact):
    """One code on a coded record."""

    system: CodeSystem
    release: str | None = None
    """The dated edition that the code is judged by, such as ``2026-04``."""
    code: str
    sequence: Annotated[int, Field(ge=1)] | None = None
    """Position on the claim; 1 is the principal or first-listed code."""
    present_on_admission: Literal["Y", "N", "U", "W", "1"] | None = None
    modifiers: tuple[str, ...] = ()
    units: Annotated[int, Field(ge=1)] = 1
    """Units of service, of procedures and supplies."""
    state: CodeState = CodeState.POSITIVE
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How much the code counts in the training loss."""
    evidence: tuple[EvidenceSpan, ...] = ()
    provenance: Provenance = Provenance()

    @field_validator("code")
    @classmethod
    def _code_is_text(cls, value: str) -> str:
        return value.strip()

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        written = normalise_code(self.system, self.code)
        if written != self.code:
            raise ValueError(f"code {self.code[:8]!r} must be written {written!r}")
        ordered = sorted(self.evidence, key=lambda span: (span.note_id, span.start))
        for before, after in pairwise(ordered):
            if before.note_id == after.note_id and after.start < before.end:
                raise ValueError(
                    f"evidence [{after.start}, {after.end}) overlaps [{before.start}, {before.end}) "
                    f"of code {self.code}; merge them"
                )
        return self

    @property
    def key(self) -> str:
        """The label key: ``icd10cm:I21.4``."""
        return f"{self.system}:{self.code}"
