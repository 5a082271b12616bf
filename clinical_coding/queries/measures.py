"""Measures: laboratory values and vital signs that a note writes after their names.

``Na 128``, ``creatinine rose from 0.9 to 2.1 mg/dL``, ``BP 210/120``: each value becomes a reading in the
measure's first unit. What no unit, or an implausible number, leaves open is not read. Tables whose columns
are set apart by white space alone are read only where the value follows its name.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import combinations
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from clinical_coding.artefact import Artefact

__all__ = ["Bounds", "Measure", "Reading", "readings_that_meet"]

_CONNECTIVES: Final = (
    "a about admission after an and approximately around as at baseline before currently decreased discharge down "
    "dropped elevated fell from high improved increased initial initially is level levels low measured nadir now of "
    "on peak peaked previous previously prior repeat repeated rising risen rose serum then to today "
    "trended up usual value was"
).split()
_DATE: Final = r"(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])(?:/\d{2,4})?(?=\s*[:\s])"
_LEAD: Final = re.compile(
    # In brackets: a unit before its value, or the laboratory's mark of a value out of range.
    r"(?:[\s:=()\[~,>→+\-]|(?<=\()[A-Za-zµ%][A-Za-zµ%/0-9]{0,9}\)|\b(?:"
    + "|".join(_CONNECTIVES)
    + r")\b|"
    + _DATE
    + r")*",
    re.IGNORECASE,
)
_CLAUSE_END: Final = re.compile(r"[.;\n]")
_MAX_CHARACTERS_BEFORE: Final = 40
_SEPARATORS: Final = re.compile(r"[\s,;>→()-]*")
_MAX_LEAD_CHARACTERS: Final = 48
_NUMBER: Final = r"(?P<first>\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?|\.\d+)(?:\s?/\s?(?P<second>\d+(?:\.\d+)?))?"
_NEVER: Final = r"(?!)"
# What is normal is written as a range, most often in brackets behind the value.
_RANGE: Final = r"\s?[-\u2013]\s?\d"
_NOT_A_RANGE: Final = rf"(?!{_RANGE})"
# A number before one of these is a dose, a duration or a time, whatever stands before it.
_NOT_A_VALUE: Final = (
    r"(?!\s?(?:mg|mcg|meq|g|gm|ml|l|units?|tabs?|tablets?|iu|seconds?|minutes?|hours?|days?|weeks?|months?|years?|x|"
    r"times|am|pm)\b)(?![A-Za-z%/]|[.,]?\d)"
)


class Component(StrEnum):
    """Which of two numbers is meant in ``210/120``."""

    FIRST = "first"
    SECOND = "second"


class Measure(Artefact):
    """A quantity that notes report as name and value."""

    terms: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names that the value follows."""
    units: Annotated[dict[str, float], Field(min_length=1)]
    """Units as written, in lower case, with the factor to the first, whose factor is 1. A value
    without a unit is taken in the first unit that makes it plausible."""
    plausible: tuple[float, float]
    """Least and greatest value that is believed, in the first unit."""
    not_after: tuple[str, ...] = ()
    """Words that make another quantity of a name that follows in the same clause, such as ``urine``."""
    estimated: bool = False
    """Whether a value is written as a range, of which the lower end counts: ``EF 55-60%``."""
    component: Component | None = None
    """Of a value written as a pair; other measures are not read from pairs."""

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        if next(iter(self.units.values())) != 1:
            raise ValueError("units must begin with the one whose factor is 1")
        if self.plausible[0] >= self.plausible[1]:
            raise ValueError("plausible must be [least, greatest]")
        return self

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """A value, with or without its unit."""
        written = sorted(filter(None, self.units), key=len, reverse=True)
        units = "|".join(map(re.escape, written)) or _NEVER
        behind = rf"(?:{_RANGE}+)?" if self.estimated else _NOT_A_RANGE
        return re.compile(rf"{_NUMBER}{behind}(?:\s?(?P<unit>{units})(?![A-Za-z/])|{_NOT_A_VALUE})", re.IGNORECASE)

    def value_of(self, match: re.Match[str]) -> float | None:
        """The value of a match in the first unit; none when it is not plausible."""
        if (match["second"] is not None) != (self.component is not None):
            return None
        written = float((match["second"] if self.component is Component.SECOND else match["first"]).replace(",", ""))
        unit = match["unit"]
        factors = self.units.values() if unit is None else (self.units[unit.lower()],)
        least, greatest = self.plausible
        return next((written * factor for factor in factors if least <= written * factor <= greatest), None)

    def readings(self, text: str, *, names: Iterable[tuple[int, int]]) -> list["Reading"]:
        """The values that follow the names of this measure in a note.

        Args:
            text: The note.
            names: Character offsets of the names, which may overlap ("hs troponin", "troponin").

        Returns:
            Readings in their order, each value once.
        """
        by_end: dict[int, Reading] = {}
        for start, end in sorted(set(names)):
            for reading in self._following(text, start=start, end=end):
                by_end.setdefault(reading.end, reading)
        return list(by_end.values())

    def _following(self, text: str, *, start: int, end: int) -> Iterator["Reading"]:
        """The list of values behind one name: it ends at the first thing that is neither value nor connective."""
        if self.not_after and not set(_words_before(text, start)).isdisjoint(self.not_after):
            return
        begin, position = start, end
        while True:
            lead = _LEAD.match(text, position, min(len(text), position + _MAX_LEAD_CHARACTERS))
            match = self.pattern.match(text, lead.end() if lead else position)
            value = self.value_of(match) if match else None
            if match is None or value is None:
                return
            yield Reading(value, begin, match.end())
            position = match.end()
            separators = _SEPARATORS.match(text, position)
            begin = separators.end() if separators else position


@dataclass(frozen=True, slots=True)
class Reading:
    """One value, with where it stands: the first of a list with its name."""

    value: float
    start: int
    end: int

    @property
    def span(self) -> tuple[int, int]:
        """Its character offsets."""
        return self.start, self.end


class Bounds(Artefact):
    """What readings must show. Exactly one field is given; units are those of the measure."""

    below: float | None = None
    """A reading under this."""
    above: float | None = None
    """A reading over this."""
    ratio: Annotated[float, Field(gt=1)] | None = None
    """Two readings of which one is at least this many times the other."""
    fall: Annotated[float, Field(gt=0)] | None = None
    """A reading that is at least this much under an earlier one."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("give exactly one of below, above, ratio, fall")
        return self

    @property
    def are_of_pairs(self) -> bool:
        """Whether it takes two readings to meet them."""
        return self.ratio is not None or self.fall is not None


def readings_that_meet(readings: Sequence[Reading], *, bounds: Bounds) -> tuple[Reading, ...]:
    """The first reading, or pair of readings, that shows what is asked for; none when there is none."""
    if not bounds.are_of_pairs:
        return next(((reading,) for reading in readings if _outside(reading.value, bounds)), ())
    meets = _pair_test(bounds)
    return next((pair for pair in combinations(readings, 2) if meets(pair[0].value, pair[1].value)), ())


def _words_before(text: str, position: int) -> list[str]:
    """The words, in lower case, of the clause that leads up to a position."""
    return _CLAUSE_END.split(text[max(0, position - _MAX_CHARACTERS_BEFORE) : position])[-1].lower().split()


def _outside(value: float, bounds: Bounds) -> bool:
    return (bounds.below is not None and value < bounds.below) or (bounds.above is not None and value > bounds.above)


def _pair_test(bounds: Bounds) -> Callable[[float, float], bool]:
    # 1.8 / 1.2 falls short of 1.5 in binary arithmetic: values are written to two decimals at most.
    slack = 1e-9
    ratio, fall = bounds.ratio, bounds.fall
    if ratio is not None:
        return lambda earlier, later: max(earlier, later) >= ratio * min(earlier, later) - slack
    return lambda earlier, later: earlier - later >= (fall or 0) - slack
