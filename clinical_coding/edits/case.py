"""A case: an encounter with its codes, set out for the rules.

Codes that are not valid are told by the rules of validity alone; all other rules see valid diagnoses only, so
that one mistake does not set off ten findings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from clinical_coding.code_library import CodeLibrary
from clinical_coding.code_systems import CodeSystems, Standing, date_of_coding
from clinical_coding.codes import Code, CodeState, CodeSystem
from clinical_coding.documentation import ReadNote
from clinical_coding.edits.facts import DiagnosisFacts, facts_of
from clinical_coding.edits.necessity import MedicalNecessity
from clinical_coding.edits.policy import Policy
from clinical_coding.records import Encounter

__all__ = ["Case", "Diagnosis", "are_opposite", "make_case"]

_OPPOSITE: Final = {"left", "right"}


@dataclass(frozen=True, slots=True, eq=False)
class Diagnosis:
    """A valid diagnosis code on the encounter."""

    code: Code
    key: str
    facts: DiagnosisFacts


def are_opposite(one: Diagnosis, other: Diagnosis) -> bool:
    """True for codes of the left and of the right: whatever they say, they say of two places."""
    return {place.side for place in (one.facts.place, other.facts.place) if place is not None} == _OPPOSITE


@dataclass(frozen=True, slots=True)
class Case:
    """What rules look at."""

    encounter: Encounter
    codes: tuple[Code, ...]
    """Of all systems, but for those that were judged wrong."""
    standings: tuple[Standing, ...]
    """One a code: what the held releases say on the date of coding."""
    diagnoses: tuple[Diagnosis, ...]
    """Valid ones, in sequence where it is known, each code once."""
    procedures: tuple[Code, ...]
    """Of the other systems, whether valid or not held."""
    is_sequenced: bool
    """True where every diagnosis has its place."""
    on: date | None
    systems: CodeSystems
    library: CodeLibrary
    policy: Policy
    notes: Mapping[str, ReadNote]
    necessity: MedicalNecessity | None

    @property
    def first(self) -> Diagnosis | None:
        """The principal or first-listed diagnosis; null where the sequence is not known, or that code is not valid."""
        if self.is_sequenced and self.diagnoses and self.diagnoses[0].code.sequence == 1:
            return self.diagnoses[0]
        return None


def make_case(
    encounter: Encounter,
    codes: Sequence[Code],
    *,
    systems: CodeSystems,
    policy: Policy,
    notes: Sequence[ReadNote],
    necessity: MedicalNecessity | None,
) -> Case:
    """Set an encounter out for the rules."""
    on = date_of_coding(encounter)
    library = systems.icd10cm(on)
    standing_codes = tuple(code for code in codes if code.state is not CodeState.NEGATIVE)
    standings = tuple(systems.standing(code.system, code.code, on) for code in standing_codes)
    listed: dict[str, Code] = {}
    procedures = []
    is_sequenced = True
    for code, standing in zip(standing_codes, standings, strict=True):
        if code.system is not CodeSystem.ICD10CM:
            procedures.append(code)
            continue
        is_sequenced &= code.sequence is not None
        if standing is Standing.VALID and library.is_valid(code.code):
            listed.setdefault(code.code, code)
    ordered = sorted(listed.values(), key=lambda code: code.sequence or 0) if is_sequenced else listed.values()
    return Case(
        encounter=encounter,
        codes=standing_codes,
        standings=standings,
        diagnoses=tuple(Diagnosis(code, code.key, facts_of(library, code.code)) for code in ordered),
        procedures=tuple(procedures),
        is_sequenced=is_sequenced,
        on=on,
        systems=systems,
        library=library,
        policy=policy,
        notes={note.note.note_id: note for note in notes},
        necessity=necessity,
    )
