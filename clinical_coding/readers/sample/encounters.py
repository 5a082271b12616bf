"""What happens at one encounter: diagnoses, procedures, visits and traps, before anything is written.

A trap is a diagnosis that the note names without its standing on the record: denied, excluded,
uncertain, of the past, or of a relative.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from random import Random
from typing import Final

from clinical_coding.readers.sample.catalogue import Catalogue, Condition, Procedure, Specialty, load_catalogue
from clinical_coding.readers.sample.draws import between, chance, pick, pick_early, pick_weighted
from clinical_coding.readers.sample.patients import Patient
from clinical_coding.records import Complexity, Setting

__all__ = ["Case", "Finding", "Performed", "Trap", "make_case"]

SERVICE_PERIOD: Final = (date(2026, 4, 1), date(2026, 9, 30))
"""The months in which the release 2026-04 of ICD-10-CM is in force."""
OTHER_SPECIALTIES: Final = ("emergency-medicine", "family-medicine")
MAX_PROCEDURES: Final = 3
UNGROUPED_DRG: Final = "948"

_COMPLEXITIES: Final = (Complexity.LOW, Complexity.MODERATE, Complexity.HIGH)
_COMPLEXITIES_CUMULATIVE: Final = {
    Setting.OUTPATIENT: (0.35, 0.85, 1.0),
    Setting.EMERGENCY: (0.3, 0.7, 1.0),
    Setting.SAME_DAY_SURGERY: (0.5, 0.9, 1.0),
    Setting.INPATIENT: (0.1, 0.5, 1.0),
}
_NUM_ADDITIONAL: Final = {Complexity.LOW: (0, 2), Complexity.MODERATE: (1, 3), Complexity.HIGH: (3, 6)}
_NUM_TRAPS: Final = {"denied": (1, 2), "family": (0, 2), "historical": (0, 1), "uncertain": (0, 1), "excluded": (0, 1)}


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnosis that stands on the record."""

    condition: Condition
    is_uncertain: bool = False
    """Named as probable at discharge, which an inpatient stay codes as if it were certain (guideline II.H)."""
    is_acquired: bool = False
    """Arose during the stay: not present on admission."""


@dataclass(frozen=True, slots=True)
class Performed:
    """A procedure or supply on the record."""

    procedure: Procedure
    side: str
    """``right``, ``left`` or empty."""


@dataclass(frozen=True, slots=True)
class Trap:
    """A diagnosis that the note names and the record does not carry."""

    condition: Condition
    kind: str


@dataclass(slots=True)
class Case:
    """One encounter, ready to be written up."""

    patient: Patient
    specialty: Specialty
    setting: Setting
    complexity: Complexity
    start: date
    end: date
    provider_id: str
    is_new: bool
    """The patient has not been seen in this specialty before."""
    findings: tuple[Finding, ...]
    """Principal or first-listed diagnosis first."""
    performed: tuple[Performed, ...]
    traps: tuple[Trap, ...]
    drg: str | None

    @property
    def principal(self) -> Condition:
        """The reason for the encounter."""
        return self.findings[0].condition


@cache
def _candidates(name: str, setting: Setting, age: int, sex: str) -> tuple[Condition, ...]:
    specialty = load_catalogue().specialty(name)
    return tuple(item for item in specialty.conditions if setting in item.settings and item.suits(age, sex))


@cache
def _operations(name: str, age: int, sex: str) -> tuple[Procedure, ...]:
    """Same-day operations for which somebody of this age and sex can have a reason."""
    candidates = _candidates(name, Setting.SAME_DAY_SURGERY, age, sex)
    operations = load_catalogue().specialty(name).operations
    return tuple(item for item in operations if any(reason.code.startswith(item.reasons) for reason in candidates))


@cache
def _trap_pool(name: str, kind: str) -> tuple[Condition, ...]:
    """Conditions that a specialty's notes name in passing: its own, then everybody's."""
    catalogue = load_catalogue()
    roles = {"family": ("chronic",), "historical": ("acute",), "denied": ("acute", "symptom")}.get(
        kind, ("acute", "chronic")
    )
    own = (*catalogue.specialty(name).conditions, *catalogue.chronic)
    everyone = tuple(catalogue.conditions.values())
    return tuple(
        item
        for item in (*own, *own, *everyone)
        if item.role in roles and (not item.side or kind == "historical") and not item.code.startswith(("O", "Z"))
    )


def _choose_specialty(rng: Random, patient: Patient, catalogue: Catalogue) -> Specialty:
    home = patient.specialty
    if not home.takes_comorbidities or chance(rng, 0.75):
        return home
    other = catalogue.specialty(pick(rng, OTHER_SPECIALTIES))
    return other if other.ages[0] <= patient.age <= other.ages[1] else home


def _choose_setting(rng: Random, specialty: Specialty, patient: Patient) -> Setting:
    for _ in range(20):
        setting = pick_weighted(rng, specialty.settings, cumulative=specialty.settings_cumulative)
        if setting is Setting.SAME_DAY_SURGERY:
            if _operations(specialty.name, patient.age, patient.sex):
                return setting
        elif _candidates(specialty.name, setting, patient.age, patient.sex):
            return setting
    raise ValueError(
        f"specialty {specialty.name} has no condition for age {patient.age}; widen an age in its data file"
    )


def _choose_principal(
    rng: Random, patient: Patient, candidates: tuple[Condition, ...], operation: Procedure | None
) -> Condition:
    if operation is not None:
        candidates = tuple(item for item in candidates if item.code.startswith(operation.reasons))
    known = [item for item in patient.chronic if item in candidates]
    return pick(rng, known) if known and chance(rng, 0.5) else pick_early(rng, candidates)


def _combine(conditions: list[Condition], catalogue: Catalogue) -> list[Condition]:
    """Apply the combinations that the guidelines presume; the combined code goes before its partner."""
    for first, second, combined in catalogue.combine:
        codes = [condition.code for condition in conditions]
        partners = [index for index, code in enumerate(codes) if code.startswith(second)]
        if first in codes and partners:
            del conditions[codes.index(first)]
            partner = next(item for item in conditions if item.code.startswith(second))
            conditions.insert(conditions.index(partner), catalogue.conditions[combined])
    return conditions


def _additional(
    rng: Random, patient: Patient, candidates: tuple[Condition, ...], num_wanted: int
) -> Iterable[Condition]:
    """Offer further conditions: the patient's own, then statuses, now and then another acute one."""
    yield from (item for item in patient.chronic if chance(rng, 0.9))
    yield from (item for item in patient.statuses if chance(rng, 0.7))
    for _ in range(num_wanted):
        condition = pick_early(rng, candidates)
        if condition.role not in ("preventive", "symptom"):
            yield condition


def _diagnoses(
    rng: Random, case_complexity: Complexity, patient: Patient, candidates: tuple[Condition, ...], principal: Condition
) -> list[Condition]:
    catalogue = load_catalogue()
    chosen = {principal.group: principal}
    if principal.companions:
        companion = catalogue.conditions[pick(rng, principal.companions)]
        chosen[companion.group] = companion
    if principal.code.startswith("S") and chance(rng, 0.5):
        external = pick(rng, catalogue.external)
        chosen[external.group] = external
    num_wanted = between(rng, *_NUM_ADDITIONAL[case_complexity])
    if principal.code.startswith("Z00.01"):
        num_wanted = max(num_wanted, 1)
    limit = num_wanted + len(chosen)
    for condition in _additional(rng, patient, candidates, num_wanted):
        if len(chosen) >= limit:
            break
        is_blocked = condition.needs and not any(item.code.startswith(condition.needs) for item in chosen.values())
        if not is_blocked:
            chosen.setdefault(condition.group, condition)
    return _combine(list(chosen.values()), catalogue)


def _findings(rng: Random, conditions: list[Condition], setting: Setting) -> tuple[Finding, ...]:
    findings = [Finding(condition) for condition in conditions]
    if setting is Setting.INPATIENT:
        for index, finding in enumerate(findings):
            if finding.condition.role == "acute" and not finding.condition.side:
                if chance(rng, 0.08):
                    findings[index] = replace(finding, is_uncertain=True)
                elif index and chance(rng, 0.4):
                    findings[index] = replace(finding, is_acquired=True)
    return tuple(findings)


def _performed(
    rng: Random, conditions: list[Condition], available: tuple[Procedure, ...], operation: Procedure | None
) -> tuple[Performed, ...]:
    chosen = []
    for procedure in (*((operation,) if operation else ()), *available):
        reason = next((item for item in conditions if item.code.startswith(procedure.reasons or ("",))), None)
        if reason and (procedure is operation or chance(rng, procedure.probability)):
            chosen.append(Performed(procedure, reason.side if procedure.has_side else ""))
    return tuple(chosen[:MAX_PROCEDURES])


def _traps(rng: Random, patient: Patient, specialty: Specialty, findings: tuple[Finding, ...]) -> tuple[Trap, ...]:
    taken = {item.group for item in (*patient.chronic, *patient.statuses, *(f.condition for f in findings))}
    traps = []
    for kind, (low, high) in _NUM_TRAPS.items():
        pool = _trap_pool(specialty.name, kind)
        for _ in range(between(rng, low, high)):
            condition = pick(rng, pool)
            is_fit = kind == "family" or condition.suits(patient.age, patient.sex)
            if condition.group not in taken and is_fit:
                taken.add(condition.group)
                traps.append(Trap(condition, kind))
    return tuple(traps)


def _dates(rng: Random, setting: Setting, moment: float) -> tuple[date, date]:
    """Place an encounter in the service period; ``moment`` is the share of the period that has passed."""
    first, last = SERVICE_PERIOD
    num_days = between(rng, 2, 8) if setting is Setting.INPATIENT else 0
    start = first + timedelta(days=int(moment * ((last - first).days - num_days)))
    return start, start + timedelta(days=num_days)


def _drg(principal: Condition, complexity: Complexity) -> str:
    numbers = principal.drgs or (UNGROUPED_DRG,)
    severity = {Complexity.HIGH: 0, Complexity.MODERATE: len(numbers) // 2, Complexity.LOW: len(numbers) - 1}[
        complexity
    ]
    return numbers[severity]


def make_case(rng: Random, patient: Patient, *, moment: float, seen: frozenset[str]) -> Case:
    """Draw one encounter of a patient.

    Args:
        rng: The patient's own generator.
        patient: Who comes.
        moment: Share of the service period that has passed, 0 to 1.
        seen: Names of the specialties that know the patient already.
    """
    catalogue = load_catalogue()
    specialty = _choose_specialty(rng, patient, catalogue)
    setting = _choose_setting(rng, specialty, patient)
    complexity = pick_weighted(rng, _COMPLEXITIES, cumulative=_COMPLEXITIES_CUMULATIVE[setting])
    candidates = _candidates(specialty.name, setting, patient.age, patient.sex)
    operation = None
    if setting is Setting.SAME_DAY_SURGERY:
        operation = pick_early(rng, _operations(specialty.name, patient.age, patient.sex))
    principal = _choose_principal(rng, patient, candidates, operation)
    conditions = _diagnoses(rng, complexity, patient, candidates, principal)
    findings = _findings(rng, conditions, setting)
    start, end = _dates(rng, setting, moment)
    return Case(
        patient=patient,
        specialty=specialty,
        setting=setting,
        complexity=complexity,
        start=start,
        end=end,
        provider_id=f"{specialty.name}-{between(rng, 1, specialty.num_providers)}",
        is_new=specialty.name not in seen and chance(rng, 0.5),
        findings=findings,
        performed=_performed(rng, conditions, catalogue.procedures[specialty.name, setting], operation),
        traps=_traps(rng, patient, specialty, findings),
        drg=_drg(conditions[0], complexity) if setting is Setting.INPATIENT else None,
    )
