"""Which diagnoses stand on a record: the principal one, what it brings along, and what the patient has besides."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Final

from clinical_coding.code_library import load_icd10cm
from clinical_coding.readers.sample.catalogue import Catalogue, Condition, Procedure, load_catalogue
from clinical_coding.readers.sample.draws import between, chance, pick, pick_early
from clinical_coding.readers.sample.patients import Patient
from clinical_coding.records import Complexity, Setting

__all__ = ["Finding", "candidates_for", "choose_principal", "draw_findings"]

_NUM_ADDITIONAL: Final = {Complexity.LOW: (1, 3), Complexity.MODERATE: (2, 4), Complexity.HIGH: (3, 6)}
_NEVER_UNCERTAIN: Final = ("O", "S", "T", "Z", "C")


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnosis that stands on the record."""

    condition: Condition
    is_uncertain: bool = False
    """Named as probable at discharge, which an inpatient stay codes as if it were certain (guideline II.H)."""
    is_acquired: bool = False
    """Arose during the stay: not present on admission."""


@cache
def candidates_for(name: str, setting: Setting, age: int, sex: str) -> tuple[Condition, ...]:
    """A specialty's conditions that may bring a person of this age and sex to this setting."""
    specialty = load_catalogue().specialty(name)
    suitable = (item for item in specialty.conditions if setting in item.settings and item.suits(age, sex))
    # What has no diagnosis-related group of its own admits nobody to hospital.
    return tuple(item for item in suitable if item.drgs or setting is not Setting.INPATIENT)


@cache
def _complications(age: int, sex: str) -> tuple[Condition, ...]:
    return tuple(item for item in load_catalogue().complications if item.suits(age, sex))


def choose_principal(
    rng: Random, patient: Patient, candidates: tuple[Condition, ...], operation: Procedure | None
) -> Condition:
    """Draw the reason for an encounter, often one that the patient is known for.

    Args:
        rng: The patient's own generator.
        patient: Who comes.
        candidates: What may bring the patient here.
        operation: What is to be done, for same-day surgery.
    """
    if operation is not None:
        candidates = tuple(item for item in candidates if item.code.startswith(operation.reasons))
    known = [item for item in patient.chronic if item in candidates]
    return pick(rng, known) if known and chance(rng, 0.5) else pick_early(rng, candidates)


def _related(rng: Random, patient: Patient, codes: tuple[str, ...], catalogue: Catalogue) -> Condition:
    """Choose among related codes the one that the patient has, else one that suits."""
    options = [item for item in map(catalogue.conditions.__getitem__, codes) if item.suits(patient.age, patient.sex)]
    known = [item for item in patient.chronic if item in options]
    return known[0] if known else pick(rng, options)


def _core(rng: Random, patient: Patient, principal: Condition, catalogue: Catalogue) -> dict[str, Condition]:
    """The principal diagnosis among those that the guidelines put before and after it, by group."""
    core = []
    if principal.underlying:
        core.append(_related(rng, patient, principal.underlying, catalogue))
    core.append(principal)
    if principal.companions:
        core.append(_related(rng, patient, principal.companions, catalogue))
    core.extend(catalogue.conditions[code] for code in principal.always)
    if principal.code.startswith("S") and catalogue.external and chance(rng, 0.5):
        core.append(pick(rng, catalogue.external))
    return {condition.group: condition for condition in core}


def _additional(
    rng: Random,
    patient: Patient,
    principal: Condition,
    candidates: tuple[Condition, ...],
    setting: Setting,
    complexity: Complexity,
) -> Iterable[Condition]:
    """Offer further conditions: a complication or second problem, then the patient's own, then statuses."""
    complications = _complications(patient.age, patient.sex)
    if setting is Setting.INPATIENT and patient.specialty.takes_comorbidities and complications:
        for _ in range(between(rng, 0, 2 if complexity is Complexity.HIGH else 1)):
            yield pick_early(rng, complications)
    elif complexity is not Complexity.LOW and chance(rng, 0.5):
        condition = pick_early(rng, candidates)
        # A second problem from the same chapter would mostly be the first in other words; an injury comes alone.
        if condition.role in ("acute", "chronic") and condition.code[0] not in {principal.code[0], "S", "T"}:
            yield condition
    yield from (item for item in patient.chronic if chance(rng, 0.9))
    yield from (item for item in patient.statuses if chance(rng, 0.8))


def _may_join(condition: Condition, others: Iterable[Condition]) -> bool:
    """Tell whether no Excludes1 note forbids a condition beside the others."""
    library = load_icd10cm()
    return not any(library.excludes1(condition.code, other.code) for other in others)


def _combine(conditions: list[Condition], catalogue: Catalogue) -> list[Condition]:
    """Apply the combinations that the guidelines presume; the combined code goes before its partner."""
    for first, second, combined in catalogue.combine:
        partner = next((item for item in conditions if item.code.startswith(second)), None)
        replaced = next((item for item in conditions if item.code == first), None)
        if partner and replaced:
            conditions.remove(replaced)
            conditions.insert(conditions.index(partner), catalogue.conditions[combined])
    return conditions


def draw_findings(
    rng: Random,
    patient: Patient,
    principal: Condition,
    *,
    candidates: tuple[Condition, ...],
    setting: Setting,
    complexity: Complexity,
) -> tuple[Finding, ...]:
    """Draw all diagnoses of an encounter, in the order in which they are sequenced.

    Args:
        rng: The patient's own generator.
        patient: Who comes.
        principal: Why.
        candidates: What else the specialty sees in such a person.
        setting: Where.
        complexity: The more complex, the more diagnoses.
    """
    catalogue = load_catalogue()
    chosen = _core(rng, patient, principal, catalogue)
    num_core = len(chosen)
    num_wanted = between(rng, *_NUM_ADDITIONAL[complexity])
    for condition in _additional(rng, patient, principal, candidates, setting, complexity):
        if len(chosen) == num_core + num_wanted:
            break
        has_needs = not condition.needs or any(item.code.startswith(condition.needs) for item in chosen.values())
        if has_needs and _may_join(condition, chosen.values()):
            chosen.setdefault(condition.group, condition)
    findings = [Finding(condition) for condition in _combine(list(chosen.values()), catalogue)]
    if setting is Setting.INPATIENT:
        findings = [_in_hospital(rng, item, is_first=not rank) for rank, item in enumerate(findings)]
    return tuple(findings)


def _in_hospital(rng: Random, finding: Finding, *, is_first: bool) -> Finding:
    """Make a diagnosis of a stay now and then uncertain at discharge, or acquired in hospital."""
    condition = finding.condition
    if condition.role != "acute" or condition.code.startswith(_NEVER_UNCERTAIN):
        return finding
    if not is_first and condition in load_catalogue().complications and chance(rng, 0.5):
        return replace(finding, is_acquired=True)
    return replace(finding, is_uncertain=not condition.side and chance(rng, 0.12))
