"""Diagnoses that a note names without their standing on the record.

Denied, excluded, uncertain (outside hospital), of the past, or of a relative: written in the
words that a real diagnosis would have, so that only what stands around them tells.
"""

from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

from clinical_coding.readers.sample.catalogue import Condition, load_catalogue
from clinical_coding.readers.sample.diagnoses import Finding
from clinical_coding.readers.sample.draws import between, pick
from clinical_coding.readers.sample.patients import Patient

__all__ = ["Trap", "draw_traps"]

NUM_TRAPS: Final = {"denied": (1, 2), "family": (0, 2), "historical": (0, 1), "uncertain": (0, 1), "excluded": (0, 1)}
"""The fewest and most of each kind in an encounter."""

EVERYDAY_SPECIALTY: Final = "emergency-medicine"
"""What it sees, every specialty asks about."""

_ROLES: Final = {
    "denied": ("acute", "symptom"),
    "family": ("chronic",),
    "historical": ("acute",),
    "uncertain": ("acute",),
    "excluded": ("acute",),
}
# Pregnancy and services; and what has a code of its own when it is over (cancer, infarction, stroke, embolism).
_NOT_NAMED: Final = ("O", "Z", "P")
_NOT_HISTORICAL: Final = ("C", "I21", "I63", "G45", "I26", "I82")
_INJURIES: Final = ("S", "T")
_NOT_FAMILIAL_GROUPS: Final = frozenset({"tobacco", "backpain", "obesity"})


@dataclass(frozen=True, slots=True)
class Trap:
    """A diagnosis that the note names and the record does not carry."""

    condition: Condition
    kind: str
    """``denied``, ``family``, ``historical``, ``uncertain`` or ``excluded``."""


def _can_be(condition: Condition, kind: str) -> bool:
    if condition.role not in _ROLES[kind] or condition.code.startswith(_NOT_NAMED):
        return False
    if kind == "family":
        return condition.group not in _NOT_FAMILIAL_GROUPS and not condition.side
    if kind == "historical":
        return not condition.code.startswith(_NOT_HISTORICAL)
    return not condition.side and not condition.code.startswith(_INJURIES)


@cache
def _pool(name: str, kind: str) -> tuple[Condition, ...]:
    """What a specialty's notes name in passing: its own conditions, and what the kind of trap adds."""
    catalogue = load_catalogue()
    own = catalogue.specialty(name).conditions
    if kind == "denied":
        own = (*own, *catalogue.specialty(EVERYDAY_SPECIALTY).conditions)
    elif kind in ("family", "historical"):
        own = (*own, *own, *catalogue.chronic, *catalogue.conditions.values())
    return tuple(item for item in own if _can_be(item, kind))


def draw_traps(rng: Random, patient: Patient, findings: tuple[Finding, ...], *, specialty: str) -> tuple[Trap, ...]:
    """Draw what a note names besides its diagnoses; nothing that the patient has.

    Args:
        rng: The patient's own generator.
        patient: Who comes.
        findings: The diagnoses on the record.
        specialty: Where.
    """
    taken = {item.group for item in (*patient.chronic, *patient.statuses, *(found.condition for found in findings))}
    traps = []
    for kind, (low, high) in NUM_TRAPS.items():
        pool = _pool(specialty, kind)
        for _ in range(between(rng, low, high) if pool else 0):
            condition = pick(rng, pool)
            if condition.group not in taken and (kind == "family" or condition.suits(patient.age, patient.sex)):
                taken.add(condition.group)
                traps.append(Trap(condition, kind))
    return tuple(traps)
