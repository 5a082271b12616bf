"""Evaluation-and-management levels and the statements in the note that they follow from.

Source: the 2021 and 2023 evaluation-and-management rules, by time or by medical decision making;
numbers and thresholds only, the wording is our own.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from clinical_coding.readers.sample.draws import between, chance, pick
from clinical_coding.records import Complexity

__all__ = [
    "DECISION_MAKING",
    "Visit",
    "discharge_visit",
    "emergency_visit",
    "hospital_visit",
    "office_visit",
    "preventive_visit",
]

DECISION_MAKING: Final = ("straightforward", "low", "moderate", "high")
"""The four levels of medical decision making, lowest first."""

# The least minutes for each level, lowest level first, and the minutes from which the next service begins.
NEW_OFFICE_MINUTES: Final = (15, 30, 45, 60, 75)
ESTABLISHED_OFFICE_MINUTES: Final = (10, 20, 30, 40, 55)
INITIAL_HOSPITAL_MINUTES: Final = (40, 55, 75, 90)
SUBSEQUENT_HOSPITAL_MINUTES: Final = (25, 35, 50, 65)

_LEVEL_RANGES: Final = {Complexity.LOW: (0, 1), Complexity.MODERATE: (1, 2), Complexity.HIGH: (2, 3)}

_DECISION_TEXTS: Final = (
    "Medical decision making: {level} complexity",
    "MDM: {level}",
    "Medical decision making is of {level} complexity",
    "{level} complexity medical decision making",
)
_TIME_TEXTS: Final = (
    "Total time today: {minutes} minutes",
    "Total time spent on the date of the encounter was {minutes} minutes",
    "I spent {minutes} minutes in total on this encounter today",
    "Time: {minutes} min total on the day of service",
)
_DISCHARGE_TEXTS: Final = (
    "Discharge day management took {minutes} minutes",
    "Time spent on discharge: {minutes} minutes",
    "{minutes} minutes were spent preparing this discharge",
)


@dataclass(frozen=True, slots=True)
class Visit:
    """A visit's number and the words that earn it."""

    code: str
    kind: str
    """Words for the kind of visit, such as "established patient"; empty where the note's type says it."""
    statement: str
    """The sentence that gives the level, without its full stop."""
    level: int
    """1 to 5."""


def _decision(rng: Random, level: int) -> str:
    text = pick(rng, _DECISION_TEXTS).format(level=DECISION_MAKING[level])
    if level == 0:
        text = text.replace(" complexity", "")
    return text[0].upper() + text[1:]


def _statement(rng: Random, level: int, minutes: tuple[int, ...]) -> str:
    """State a level by time or by decision making; the other is left unsaid."""
    if chance(rng, 0.5):
        return pick(rng, _TIME_TEXTS).format(minutes=between(rng, minutes[level], minutes[level + 1] - 1))
    return _decision(rng, level)


def _office_level(rng: Random, complexity: Complexity) -> int:
    low, high = _LEVEL_RANGES[complexity]
    return high if chance(rng, 0.7) else low


def office_visit(rng: Random, *, complexity: Complexity, is_new: bool) -> Visit:
    """An office visit: 99202 to 99205 for a new patient, 99212 to 99215 for an established one."""
    level = _office_level(rng, complexity)
    minutes = NEW_OFFICE_MINUTES if is_new else ESTABLISHED_OFFICE_MINUTES
    kind = pick(
        rng, ("new patient", "new patient visit") if is_new else ("established patient", "established patient visit")
    )
    return Visit(f"992{'0' if is_new else '1'}{level + 2}", kind, _statement(rng, level, minutes), level + 2)


def emergency_visit(rng: Random, *, complexity: Complexity) -> Visit:
    """An emergency visit, 99281 to 99285, by decision making alone."""
    if complexity is Complexity.LOW and chance(rng, 0.1):
        return Visit("99281", "", "No physician evaluation was required; nurse visit only", 1)
    level = _office_level(rng, complexity)
    return Visit(f"9928{level + 2}", "", _decision(rng, level), level + 2)


def hospital_visit(rng: Random, *, complexity: Complexity, is_initial: bool) -> Visit:
    """A hospital day: 99221 to 99223 at admission, 99231 to 99233 afterwards."""
    level = {Complexity.LOW: 1, Complexity.MODERATE: 2, Complexity.HIGH: 3}[complexity]
    if level > 1 and chance(rng, 0.2):
        level -= 1
    minutes = INITIAL_HOSPITAL_MINUTES if is_initial else SUBSEQUENT_HOSPITAL_MINUTES
    if chance(rng, 0.4):
        statement = pick(rng, _TIME_TEXTS).format(minutes=between(rng, minutes[level - 1], minutes[level] - 1))
    else:
        # The lowest hospital level covers straightforward and low alike.
        statement = _decision(rng, level if level > 1 or chance(rng, 0.7) else 0)
    kind = "initial hospital care" if is_initial else "subsequent hospital day"
    return Visit(f"992{'2' if is_initial else '3'}{level}", kind, statement, level)


def discharge_visit(rng: Random, *, complexity: Complexity) -> Visit:
    """The day of discharge: 99238 up to half an hour, 99239 beyond it."""
    is_long = chance(rng, {Complexity.LOW: 0.2, Complexity.MODERATE: 0.5, Complexity.HIGH: 0.8}[complexity])
    minutes = between(rng, 31, 55) if is_long else between(rng, 15, 30)
    statement = pick(rng, _DISCHARGE_TEXTS).format(minutes=minutes)
    return Visit("99239" if is_long else "99238", "", statement, 2 if is_long else 1)


def preventive_visit(rng: Random, *, age: int, is_new: bool) -> Visit:
    """A preventive visit, whose number follows from the age and from whether the patient is new."""
    steps = (0, 1, 5, 12, 18, 40, 65)
    band = sum(age >= step for step in steps)
    kind = "new patient preventive visit" if is_new else "established patient preventive visit"
    statement = pick(rng, ("Comprehensive preventive visit at age {age}", "Preventive care for age {age} completed"))
    return Visit(f"9938{band}" if is_new else f"9939{band}", kind, statement.format(age=age), 1)
