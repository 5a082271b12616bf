"""Sample patients: who they are and what they bring to every encounter."""

from dataclasses import dataclass
from random import Random
from typing import Final

from clinical_coding.readers.sample.catalogue import Catalogue, Condition, Specialty
from clinical_coding.readers.sample.draws import between, chance, pick, pick_early, pick_weighted

__all__ = ["Patient", "make_patient"]

COMMERCIAL_PAYERS: Final = ("commercial-ppo", "commercial-hmo", "commercial-epo", "self-pay")
NUM_FACILITIES: Final = 6
# One encounter is the most frequent; the mean is a little over two.
NUM_ENCOUNTERS: Final = (1, 2, 3, 4, 5, 6)
NUM_ENCOUNTERS_CUMULATIVE: Final = (40.0, 65.0, 81.0, 91.0, 97.0, 100.0)


@dataclass(frozen=True, slots=True)
class Patient:
    """What stays the same from one encounter of a patient to the next."""

    patient_id: str
    age: int
    sex: str
    payer: str
    facility_id: str
    specialty: Specialty
    """Where the patient is mostly seen."""
    chronic: tuple[Condition, ...]
    statuses: tuple[Condition, ...]
    num_encounters: int


def _payer(rng: Random, age: int) -> str:
    if age >= 65:
        return "medicare" if chance(rng, 0.85) else pick(rng, COMMERCIAL_PAYERS[:3])
    if chance(rng, 0.45 if age < 18 else 0.22):
        return "medicaid"
    return "medicare" if age > 40 and chance(rng, 0.06) else pick(rng, COMMERCIAL_PAYERS)


def _num_chronic(rng: Random, age: int) -> int:
    if age < 18:
        return between(rng, 0, 1)
    if age < 40:
        return between(rng, 0, 2)
    return between(rng, 1, 5) if age < 65 else between(rng, 3, 8)


def _long_term(rng: Random, catalogue: Catalogue, specialty: Specialty, age: int, sex: str) -> tuple[Condition, ...]:
    """Draw the long-term conditions, the specialty's own first; no two of one group."""
    chosen: dict[str, Condition] = {}
    own = [item for item in specialty.conditions if item.role == "chronic" and item.suits(age, sex)]
    if own and chance(rng, 0.6):
        condition = pick_early(rng, own)
        chosen[condition.group] = condition
    if specialty.takes_comorbidities:
        common = [item for item in catalogue.chronic if item.suits(age, sex)]
        for _ in range(_num_chronic(rng, age) if common else 0):
            condition = pick_early(rng, common)
            chosen.setdefault(condition.group, condition)
    return tuple(chosen.values())


def _statuses(
    rng: Random, catalogue: Catalogue, chronic: tuple[Condition, ...], age: int, sex: str
) -> tuple[Condition, ...]:
    groups = {condition.group for condition in chronic}
    chosen = []
    for status in catalogue.statuses:
        is_needed = bool(status.needs) and any(condition.code.startswith(status.needs) for condition in chronic)
        likelihood = 0.35 if is_needed else 0.0 if status.needs else 0.05
        if status.suits(age, sex) and status.group not in groups and chance(rng, likelihood):
            chosen.append(status)
            groups.add(status.group)
    return tuple(chosen)


def make_patient(rng: Random, catalogue: Catalogue, *, patient_id: str) -> Patient:
    """Draw a patient.

    Args:
        rng: The patient's own generator.
        catalogue: What there is to have.
        patient_id: Unique in the sample.
    """
    specialty = pick_weighted(rng, catalogue.specialties, cumulative=catalogue.specialties_cumulative)
    age = between(rng, *specialty.ages)
    sex = specialty.sex or pick(rng, "FM")
    chronic = _long_term(rng, catalogue, specialty, age, sex)
    return Patient(
        patient_id=patient_id,
        age=age,
        sex=sex,
        payer=_payer(rng, age),
        facility_id=f"facility-{between(rng, 1, NUM_FACILITIES)}",
        specialty=specialty,
        chronic=chronic,
        statuses=_statuses(rng, catalogue, chronic, age, sex) if specialty.takes_comorbidities else (),
        num_encounters=pick_weighted(rng, NUM_ENCOUNTERS, cumulative=NUM_ENCOUNTERS_CUMULATIVE),
    )
