"""What happens at one encounter: diagnoses, procedures, visits and traps, before anything is written."""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from random import Random
from typing import Final

from clinical_coding.readers.sample.catalogue import Catalogue, Condition, Procedure, Specialty, load_catalogue
from clinical_coding.readers.sample.diagnoses import Finding, candidates_for, choose_principal, draw_findings
from clinical_coding.readers.sample.draws import between, chance, pick, pick_early, pick_weighted
from clinical_coding.readers.sample.patients import Patient
from clinical_coding.readers.sample.traps import Trap, draw_traps
from clinical_coding.records import Complexity, Setting

__all__ = ["Case", "Performed", "make_case"]

SERVICE_PERIOD: Final = (date(2026, 4, 1), date(2026, 9, 30))
"""The months in which the release 2026-04 of ICD-10-CM is in force."""
STAY_DAYS: Final = (2, 8)
"""The shortest and the longest hospital stay."""
OTHER_SPECIALTIES: Final = ("emergency-medicine", "family-medicine")
MAX_PROCEDURES: Final = 3

_COMPLEXITIES: Final = (Complexity.LOW, Complexity.MODERATE, Complexity.HIGH)
_COMPLEXITIES_CUMULATIVE: Final = {
    Setting.OUTPATIENT: (0.35, 0.85, 1.0),
    Setting.EMERGENCY: (0.3, 0.7, 1.0),
    Setting.SAME_DAY_SURGERY: (0.5, 0.9, 1.0),
    Setting.INPATIENT: (0.1, 0.5, 1.0),
}


@dataclass(frozen=True, slots=True)
class Performed:
    """A procedure or supply on the record."""

    procedure: Procedure
    side: str
    """``right``, ``left`` or empty."""


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
    reason: Condition
    """Why the patient comes; the guidelines may sequence another diagnosis before it."""
    findings: tuple[Finding, ...]
    """Principal or first-listed diagnosis first."""
    performed: tuple[Performed, ...]
    traps: tuple[Trap, ...]
    drg: str | None


@cache
def _operations(name: str, age: int, sex: str) -> tuple[Procedure, ...]:
    """Same-day operations for which somebody of this age and sex can have a reason."""
    candidates = candidates_for(name, Setting.SAME_DAY_SURGERY, age, sex)
    operations = load_catalogue().specialty(name).operations
    return tuple(item for item in operations if any(reason.code.startswith(item.reasons) for reason in candidates))


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
        elif candidates_for(specialty.name, setting, patient.age, patient.sex):
            return setting
    raise ValueError(
        f"specialty {specialty.name} has no condition for age {patient.age}; widen an age in its data file"
    )


def _performed(
    rng: Random, eligible: list[Condition], available: tuple[Procedure, ...], operation: Procedure | None
) -> tuple[Performed, ...]:
    """Draw what is done about the eligible conditions, the operation first."""
    chosen = []
    for procedure in (*((operation,) if operation else ()), *available):
        reason = next((item for item in eligible if item.code.startswith(procedure.reasons or ("",))), None)
        if reason and (procedure is operation or chance(rng, procedure.probability)):
            chosen.append(Performed(procedure, reason.side if procedure.has_side else ""))
    return tuple(chosen[:MAX_PROCEDURES])


def _dates(rng: Random, setting: Setting, rank: int, num_encounters: int) -> tuple[date, date]:
    """Place an encounter in its share of the service period, so that a patient is never in two places at once."""
    first, last = SERVICE_PERIOD
    num_days = between(rng, *STAY_DAYS) if setting is Setting.INPATIENT else 0
    share = ((last - first).days + 1) // num_encounters
    start = first + timedelta(days=rank * share + between(rng, 0, share - num_days - 1))
    return start, start + timedelta(days=num_days)


def _drg(numbers: tuple[str, ...], complexity: Complexity) -> str:
    """A group with major complications, some or none, by how complex the stay is."""
    return numbers[{Complexity.HIGH: 0, Complexity.MODERATE: len(numbers) // 2, Complexity.LOW: -1}[complexity]]


def make_case(rng: Random, patient: Patient, *, rank: int, seen: frozenset[str]) -> Case:
    """Draw one encounter of a patient.

    Args:
        rng: The patient's own generator.
        patient: Who comes.
        rank: How many encounters the patient has had before.
        seen: Names of the specialties that know the patient already.
    """
    catalogue = load_catalogue()
    specialty = _choose_specialty(rng, patient, catalogue)
    setting = _choose_setting(rng, specialty, patient)
    complexity = pick_weighted(rng, _COMPLEXITIES, cumulative=_COMPLEXITIES_CUMULATIVE[setting])
    candidates = candidates_for(specialty.name, setting, patient.age, patient.sex)
    operation = None
    if setting is Setting.SAME_DAY_SURGERY:
        operation = pick_early(rng, _operations(specialty.name, patient.age, patient.sex))
    principal = choose_principal(rng, patient, candidates, operation)
    findings = draw_findings(rng, patient, principal, candidates=candidates, setting=setting, complexity=complexity)
    conditions = [finding.condition for finding in findings]
    # An emergency department leaves what is long known to others.
    is_emergency = setting is Setting.EMERGENCY
    eligible = [item for item in conditions if item is principal or not (is_emergency and item.role == "chronic")]
    start, end = _dates(rng, setting, rank, patient.num_encounters)
    return Case(
        patient=patient,
        specialty=specialty,
        setting=setting,
        complexity=complexity,
        start=start,
        end=end,
        provider_id=f"{specialty.name}-{between(rng, 1, specialty.num_providers)}",
        is_new=specialty.name not in seen and chance(rng, 0.5),
        reason=principal if principal in conditions else conditions[0],
        findings=findings,
        performed=_performed(rng, eligible, catalogue.procedures[specialty.name, setting], operation),
        traps=draw_traps(rng, patient, findings, specialty=specialty.name),
        drg=_drg(conditions[0].drgs or principal.drgs, complexity) if setting is Setting.INPATIENT else None,
    )
