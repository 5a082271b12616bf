"""The codes of one release in tabular order, each with its place in the tree.

In this order, everything below a code follows it directly, so a code with all below it is one
interval of rows, and so is a range of codes. Knows nothing of titles, notes or files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["CodeTree", "merge"]


@dataclass(frozen=True)
class CodeTree:
    """Categories, subcategories and codes as rows."""

    codes: Sequence[str]
    parents: Sequence[int]
    """Row of the next entry up; -1 for a category."""
    stops: Sequence[int]
    """One past the last row below a row."""

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each code."""
        return {code: row for row, code in enumerate(self.codes)}

    def leaf_rows(self, start: int = 0, stop: int | None = None) -> Iterator[int]:
        """The rows of an interval that have nothing below them."""
        end = len(self.codes) if stop is None else stop
        return (row for row in range(start, end) if self.stops[row] == row + 1)

    def child_rows(self, row: int) -> Iterator[int]:
        """The rows directly below a row."""
        child = row + 1
        while child < self.stops[row]:
            yield child
            child = self.stops[child]

    def lineage(self, row: int) -> Iterator[int]:
        """A row, its parent, and so on up to the category."""
        while row >= 0:
            yield row
            row = self.parents[row]

    def last_of(self, start: int, stop: int) -> int:
        """The highest entry of an interval that ends where the interval ends."""
        last = stop - 1
        while self.parents[last] >= start and self.stops[self.parents[last]] == stop:
            last = self.parents[last]
        return last


def merge(intervals: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put half-open intervals in order and join those that touch or overlap."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged
