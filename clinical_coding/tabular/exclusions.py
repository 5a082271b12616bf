"""Which codes may not stand together: the Excludes1 notes, joined for each code.

A note holds for its owner and every code below it, against every code that it names and all below;
it forbids the pair from both sides (guideline I.A.12.a). Knows nothing of encounters, nor of when
two conditions are unrelated and the note does not apply.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from clinical_coding.tabular.instructions import Instruction, InstructionKind
from clinical_coding.tabular.notes import Notes
from clinical_coding.tabular.tree import CodeTree, merge

__all__ = ["Exclusions"]

Bounds = tuple[int, list[int]]
"""A code's row, and the rows that its notes exclude: starts and stops in turn, so that an odd place is inside."""

_UNKNOWN: Final[Bounds] = (-1, [])


class Exclusions:
    """Answers in about a microsecond for codes that were asked for before."""

    def __init__(self, notes: Notes, tree: CodeTree) -> None:
        self._notes = notes
        self._tree = tree
        self._bounds: dict[str, Bounds] = {}

    def between(self, code: str, other: str) -> Instruction | None:
        """The Excludes1 line, of either code, that forbids the two together; null when none does."""
        bounds = self._bounds
        row, excluded = bounds.get(code) or self._make_bounds(code)
        other_row, other_excluded = bounds.get(other) or self._make_bounds(other)
        if bisect_right(excluded, other_row) & 1:
            return self._line(row, other_row)
        if bisect_right(other_excluded, row) & 1:
            return self._line(other_row, row)
        return None

    def _make_bounds(self, code: str) -> Bounds:
        row = self._tree.rows.get(code)
        if row is None:
            # Not kept: what is asked for comes from outside, and would fill the memory.
            return _UNKNOWN
        intervals: list[tuple[int, int]] = []
        for number in self._notes.numbers_for(row, InstructionKind.EXCLUDES1):
            intervals += _outside(self._notes.intervals(number), self._notes.scope(number))
        bounds = self._bounds[code] = (row, [bound for interval in merge(intervals) for bound in interval])
        return bounds

    def _line(self, row: int, other_row: int) -> Instruction:
        for number in self._notes.numbers_for(row, InstructionKind.EXCLUDES1):
            scope = self._notes.scope(number)
            for line in self._notes.block(number).instructions:
                named = [(one.start, one.stop) for one in line.ranges]
                if any(start <= other_row < stop for start, stop in _outside(named, scope)):
                    return line
        raise AssertionError("rows that a note excludes are named by one of its lines")


def _outside(intervals: Sequence[tuple[int, int]], scope: tuple[int, int]) -> list[tuple[int, int]]:
    """What a note names outside its own scope.

    "basophilia (D72.824)", printed at D72, would forbid that code by itself and by its siblings; what
    lies below the owner is coded there and is never excluded from it.
    """
    parts = [part for start, stop in intervals for part in ((start, min(stop, scope[0])), (max(start, scope[1]), stop))]
    return [(start, stop) for start, stop in parts if start < stop]
