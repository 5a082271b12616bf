"""Notes as they are printed, read line by line: references, headings and their items, prose.

The official file lays the lines of a note side by side; that "diabetes mellitus (E08-E13 with
.61-)" stands under "arthropathy in:" shows only in the words and in the alphabetical order.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from clinical_coding.tabular.instructions import InstructionKind

__all__ = ["PROSE", "Reading", "is_parsed", "read_lines"]

PROSE: Final = -1
"""What stands for the references of a line that names no code."""

_DANGLING: Final = re.compile(r"(?::|\b(?:of|in|by|to|with|from|such as|following))\s*$")
_ORDERED: Final = frozenset({InstructionKind.EXCLUDES1, InstructionKind.EXCLUDES2, InstructionKind.INCLUDES})
"""Kinds whose lines are printed in alphabetical order, so that a break of it ends a heading's items."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one printed line is."""

    references: int
    """Number of its reference set, or ``PROSE``."""
    heading: int
    """Index of the heading that it stands under, or -1."""
    is_heading: bool


def read_lines(lines: Sequence[str], *, kind: InstructionKind, references: Callable[[str], int]) -> list[Reading]:
    """Read one note.

    Args:
        lines: The printed lines.
        kind: The note's kind.
        references: Gives the number of a line's reference set, ``PROSE`` when it names no code.
    """
    readings: list[Reading] = []
    heading, previous = -1, ""
    for index, line in enumerate(lines):
        following = lines[index + 1 : index + 2]
        found = references(line)
        if following and _DANGLING.search(line):
            # Codes that a heading writes outside brackets say what it holds for: "for codes G31.0-G31.83".
            readings.append(Reading(found if "(" in line else PROSE, -1, is_heading=True))
            heading, previous = index, ""
            continue
        word = _sort_key(line)
        if heading >= 0 and kind in _ORDERED and word < previous and word >= _sort_key(lines[heading]):
            heading = -1
        readings.append(Reading(found, heading, is_heading=False))
        previous = word
    return readings


def is_parsed(readings: Sequence[Reading]) -> bool:
    """Tell whether every line is understood: it names codes, or heads at least one line that does."""
    headed = {reading.heading for reading in readings if reading.references != PROSE}
    return all(reading.references != PROSE or index in headed for index, reading in enumerate(readings))


def _sort_key(line: str) -> str:
    return line.strip(" ,'\"").lower()
