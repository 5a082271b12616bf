"""Code references in the tabular list's notes, as intervals of rows.

"(F31.-)", "(I69. with final characters -23)", "(T36-T50 with fifth or sixth character 5)",
"classified to Q87.-": whatever a line writes is looked up in the release; a code that the release
does not hold makes the whole line unreadable, never a guess. Knows nothing of headings and blocks.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from clinical_coding.tabular.tree import CodeTree, merge

__all__ = ["ReferenceReader"]

_CODE: Final = r"[A-Z][0-9A][0-9A-Z](?:\.[0-9A-Z]{1,4})?"
_END: Final = rf"(?:{_CODE})(?![0-9A-Za-z])\.?"
"""One end of a range. Some lines leave a dot behind: "Z00.12.-"."""
_ITEM: Final = re.compile(rf"({_END})(?:(?:\s*-[\s-]*(?:to\s+)?|\s+to\s+)({_END}))?(?:\s*-)?")
"""A code, "and below" (trailing dash), or two ends: "I70.2--I70.7-", "F10.- -F19.-", "S06.1- to S06.6-"."""
_BETWEEN: Final = re.compile(r"\s*(?:[,;.]\s*(?:and\s|or\s)?|and\s|or\s)\s*")
_GROUP: Final = re.compile(r"\(([^(){}]*)(?:[)}]|$)")
"""A bracket; the official file closes one with a brace, and leaves one open."""
_CHAPTER: Final = re.compile(r"(?:\(|\bclassified in )Chapter (\d{1,2})\b")
"""A chapter that stands for its codes; "code to condition in Chapter 15" says only where to look."""
_ORDINALS: Final = {"fourth": 4, "fifth": 5, "sixth": 6, "six": 6, "seventh": 7}
_ORDINAL: Final = r"(?:[4-7]th|fourth|fifth|sixth|six|seventh)"
_CHARACTERS: Final = re.compile(
    rf",?\s*with\s+(?P<places>{_ORDINAL}(?:\s+(?:or|to)\s+{_ORDINAL})?|final)[\s-]+characters?\s+(?P<values>[-.0-9A-Z][^()]*)"
)
_SUFFIX: Final = re.compile(r",?\s*with\s+(?P<values>\.[0-9A-Z][^()]*)")
_TITLE: Final = re.compile(r",?\s*with\s+(?P<words>[a-z][a-z ]+?)(?:\s+7th character)?\s*")
_INTENT: Final = re.compile(rf",?\s*with\s+{_ORDINAL}(?:\s+or\s+{_ORDINAL})?\s+character\s+to indicate intent")
_VALUE: Final = re.compile(r"[.-]?([0-9A-Z]+)(?:-\.?([0-9A-Z]+))?-?")

Interval = tuple[int, int]
Test = Callable[[int], bool]


class UnknownCodeError(ValueError):
    """A line names a code that the release does not hold."""


@dataclass(frozen=True)
class ReferenceReader:
    """Reads the code references of one release's notes."""

    tree: CodeTree
    title_of: Callable[[int], str]
    """Title of a row, for references such as "with ketoacidosis"."""
    base_of: Callable[[int], str]
    """A row's code without dot, 7th character and the placeholders before it."""
    chapters: Mapping[str, Interval]
    """Rows of each chapter by its number."""
    _known: dict[str, list[Interval] | None] = field(default_factory=dict)

    def read(self, line: str) -> list[Interval]:
        """Find the rows that a line names, in order and merged; none when it names none that can be read."""
        try:
            found = list(self._in_groups(line)) or list(self._in_prose(line)) or list(self._in_chapters(line))
        except UnknownCodeError:
            return []
        return merge([interval for intervals in found for interval in intervals])

    def _in_groups(self, line: str) -> Iterator[list[Interval]]:
        for group in _GROUP.finditer(line):
            intervals = self._group(group[1])
            if intervals is not None:
                # "underdosing of medication (T36-T50) with fifth or sixth character 6"
                qualified = self._with_characters(intervals, line[group.end() :])
                yield intervals if qualified is None else qualified

    def _group(self, text: str) -> list[Interval] | None:
        if text not in self._known:
            self._known[text] = self._expression(text)
        return self._known[text]

    def _in_chapters(self, line: str) -> Iterator[list[Interval]]:
        return ([self.chapters[number]] for number in _CHAPTER.findall(line) if number in self.chapters)

    def _in_prose(self, line: str) -> Iterator[list[Interval]]:
        """References outside brackets. "vitamin B12" is none: a bare category must exist to be one."""
        position = 0
        while match := _ITEM.search(line, position):
            if line[: match.start()][-1:].isalnum() or not self._is_reference(match):
                position = match.start() + 1
                continue
            intervals, position = self._items(line, match.start())
            rest = line[position:]
            qualified = self._qualified(intervals, rest)
            yield intervals if qualified is None else qualified
            if qualified is not None:
                return

    def _expression(self, text: str) -> list[Interval] | None:
        """Read a bracket that holds nothing but references; null when it holds something else."""
        text = text.strip().rstrip(",")
        match = _ITEM.match(text)
        if match is None or not self._is_reference(match):
            return None
        intervals, position = self._items(text, 0)
        return intervals if position == len(text) else self._qualified(intervals, text[position:])

    def _is_reference(self, match: re.Match[str]) -> bool:
        return "." in match[0] or "-" in match[0] or match[1] in self.tree.rows

    def _items(self, text: str, position: int) -> tuple[list[Interval], int]:
        """Read a list of references; where it ends, reading stops."""
        intervals: list[Interval] = []
        match = _ITEM.match(text, position)
        while match:
            intervals += self._intervals(match)
            position = match.end()
            between = _BETWEEN.match(text, position)
            match = _ITEM.match(text, between.end()) if between else None
        return intervals, position

    def _intervals(self, match: re.Match[str]) -> list[Interval]:
        start, end = self._row(match[1]), self._row(match[2] or match[1])
        if end < start:
            raise UnknownCodeError
        if match[0].endswith("-") and self.tree.parents[start] != self.tree.parents[end]:
            # "I69.01-I69.11-" names two subcategories: the ends of a range "and below" lie side by side.
            return [(start, self.tree.stops[start]), (end, self.tree.stops[end])]
        return [(start, self.tree.stops[end])]

    def _row(self, written: str) -> int:
        """The row of a code; placeholders that the tabular list writes and the tree does not are dropped."""
        for code in (written.rstrip("."), written.rstrip(".X")):
            if code in self.tree.rows:
                return self.tree.rows[code]
        raise UnknownCodeError

    def _qualified(self, intervals: list[Interval], text: str) -> list[Interval] | None:
        """Keep what a restriction such as "with 7th character B" leaves; null when the text is none."""
        text = text.strip().rstrip(",")
        if _INTENT.fullmatch(text):
            return intervals
        if match := _SUFFIX.fullmatch(text):
            return self._kept(intervals, self._by_suffix(match))
        if match := _TITLE.fullmatch(text):
            return self._kept(intervals, self._by_title(match))
        return self._with_characters(intervals, text)

    def _with_characters(self, intervals: list[Interval], text: str) -> list[Interval] | None:
        match = _CHARACTERS.fullmatch(text)
        return match and self._kept(intervals, self._by_characters(match))

    def _kept(self, intervals: list[Interval], test: Test | None) -> list[Interval] | None:
        if test is None:
            return None
        kept = [row for start, stop in intervals for row in self.tree.leaf_rows(start, stop) if test(row)]
        if not kept:
            raise UnknownCodeError
        return merge([(row, row + 1) for row in kept])

    def _by_characters(self, match: re.Match[str]) -> Test | None:
        values = _values(match["values"])
        if values is None:
            return None
        places = [_ORDINALS.get(word) or int(word[0]) for word in re.findall(_ORDINAL, match["places"])]
        if not places:
            return self._by_end(values, mark=match["values"][0])
        if places == [7]:
            return lambda row: self.tree.codes[row].replace(".", "")[6:] in values
        if len(places) == 2 and " or " in match["places"]:
            # The intent of a poisoning is the last character before the 7th: a fifth 1 in T45.515 is part of the drug.
            return lambda row: len(self.base_of(row)) in places and self.base_of(row)[-1] in values
        return lambda row: self.base_of(row)[places[0] - 1 : places[-1]] in values

    def _by_end(self, values: tuple[str, ...], *, mark: str) -> Test:
        """Test final characters: all that follow the dot (".00"), what follows more (-20 is not I69.20), or any."""
        if mark == ".":
            return lambda row: self.base_of(row)[3:] in values
        skipped = 4 if mark == "-" else 3
        return lambda row: self.base_of(row)[skipped:].endswith(values)

    def _by_suffix(self, match: re.Match[str]) -> Test | None:
        values = _values(match["values"])
        return None if values is None else lambda row: self.base_of(row)[3:].startswith(values)

    def _by_title(self, match: re.Match[str]) -> Test:
        return lambda row: match["words"] in self.title_of(row).lower()


def _values(text: str) -> tuple[str, ...] | None:
    """Spell out "1-4 or 6", ".51-.52", "-23"; null when the text is something else."""
    values: list[str] = []
    for part in re.split(r"\s*(?:,|\.\s|\bor\b|\band\b)\s*", text.strip()):
        match = _VALUE.fullmatch(part)
        if match is None:
            return None
        first, last = match[1], match[2] or match[1]
        if first.isdigit() and last.isdigit() and len(first) == len(last):
            values += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        else:
            values += [first, last]
    return tuple(values)
