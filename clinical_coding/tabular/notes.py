"""The notes of one release: which are in force for a code, and what they say.

Objects are made when asked for and kept: a library has some twelve thousand printed lines, an
encounter touches a few dozen. Knows nothing of encounters or rules.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property

from clinical_coding.tabular.columns import Columns
from clinical_coding.tabular.instructions import CodeRange, Instruction, InstructionKind, NoteBlock
from clinical_coding.tabular.note_lines import PROSE, Reading, is_parsed
from clinical_coding.tabular.strictness import gives_examples, is_conditional
from clinical_coding.tabular.tree import CodeTree

__all__ = ["Notes"]

Scope = tuple[int, int]


class Notes:
    """Instructional notes, by the rows that they hold for."""

    def __init__(self, columns: Columns, tree: CodeTree) -> None:
        self._columns = columns
        self._tree = tree
        self._blocks: dict[int, NoteBlock] = {}
        self._ranges: dict[int, tuple[CodeRange, ...]] = {}
        self._in_force: dict[tuple[int, InstructionKind], tuple[Instruction, ...]] = {}

    def in_force(self, row: int, kind: InstructionKind) -> tuple[Instruction, ...]:
        """Instructions of a kind that hold for a row, the nearest first."""
        key = (row, kind)
        found = self._in_force.get(key)
        if found is None:
            numbers = self.numbers_for(row, kind)
            found = self._in_force[key] = tuple(one for number in numbers for one in self.block(number).instructions)
        return found

    def numbers_for(self, row: int, kind: InstructionKind) -> list[int]:
        """Numbers of the notes of a kind that hold for a row: the code's own, its ancestors', block's, chapter's."""
        notes = self._by_scope[kind]
        return [number for scope in self._scopes(row) for number in notes.get(scope, ())]

    def of_kind(self, kind: InstructionKind) -> tuple[NoteBlock, ...]:
        """All notes of a kind, in tabular order."""
        heads = self._columns["note_heads"]
        return tuple(self.block(number) for number, head in enumerate(heads) if head[0] == kind)

    def block(self, number: int) -> NoteBlock:
        """One note."""
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = self._make_block(number)
        return block

    def scope(self, number: int) -> Scope:
        """The rows that a note holds for."""
        _, _, start, stop = self._columns["note_heads"][number]
        return start, stop

    def intervals(self, number: int) -> list[Scope]:
        """The rows that a note names, as its lines name them."""
        readings = self._columns["note_readings"][number]
        sets = (self._columns["references"][index] for index in readings[::3] if index != PROSE)
        return [(flat[place], flat[place + 1]) for flat in sets for place in range(0, len(flat), 2)]

    def _scopes(self, row: int) -> Iterator[Scope]:
        previous: Scope | None = None
        for one in self._tree.lineage(row):
            previous = (one, self._tree.stops[one])
            yield previous
        for divisions, starts in self._divisions:
            place = bisect_right(starts, row) - 1
            scope = divisions[place]
            # A block of one category, and that category, have the same rows and are asked for once.
            if place >= 0 and scope != previous and row < scope[1]:
                previous = scope
                yield scope

    @cached_property
    def _divisions(self) -> list[tuple[list[Scope], list[int]]]:
        kinds = (self._columns["blocks"], self._columns["chapters"])
        # A division without codes shares its first row with the next one.
        scopes = [[(start, stop) for _, _, start, stop in divisions if start < stop] for divisions in kinds]
        return [(pairs, [start for start, _ in pairs]) for pairs in scopes]

    @cached_property
    def _by_scope(self) -> dict[InstructionKind, dict[Scope, list[int]]]:
        grouped: dict[str, dict[Scope, list[int]]] = {kind.value: defaultdict(list) for kind in InstructionKind}
        for number, (kind, _, start, stop) in enumerate(self._columns["note_heads"]):
            grouped[kind][start, stop].append(number)
        return {kind: dict(grouped[kind.value]) for kind in InstructionKind}

    @cached_property
    def _lines(self) -> tuple[list[str], list[int]]:
        """All printed lines, and where each note's begin."""
        starts, position = [], 0
        for readings in self._columns["note_readings"]:
            starts.append(position)
            position += len(readings) // 3
        return self._columns["note_lines"].split("\n"), starts

    def _make_block(self, number: int) -> NoteBlock:
        kind, owner, _, _ = self._columns["note_heads"][number]
        flat = self._columns["note_readings"][number]
        readings = [
            Reading(flat[place], flat[place + 1], is_heading=flat[place + 2] == 1) for place in range(0, len(flat), 3)
        ]
        all_lines, starts = self._lines
        lines = all_lines[starts[number] : starts[number] + len(readings)]
        words = {index: _words(lines, reading, index) for index, reading in _items(readings)}
        alternatives = sum(readings[index].heading < 0 for index in words) > 1
        instructions = (
            Instruction(
                kind=InstructionKind(kind),
                owner=owner,
                note=note,
                ranges=self._code_ranges(readings[index].references),
                is_conditional=is_conditional(InstructionKind(kind), note, alternatives=alternatives),
                is_open=readings[index].references == PROSE or gives_examples(note),
            )
            for index, note in words.items()
        )
        return NoteBlock(InstructionKind(kind), owner, tuple(lines), tuple(instructions), is_parsed(readings))

    def _code_ranges(self, number: int) -> tuple[CodeRange, ...]:
        if number == PROSE:
            return ()
        ranges = self._ranges.get(number)
        if ranges is None:
            flat = self._columns["references"][number]
            pairs = zip(flat[::2], flat[1::2], strict=True)
            ranges = self._ranges[number] = tuple(self._code_range(start, stop) for start, stop in pairs)
        return ranges

    def _code_range(self, start: int, stop: int) -> CodeRange:
        codes = self._tree.codes
        return CodeRange(codes[start], codes[self._tree.last_of(start, stop)], start, stop)


def _items(readings: Sequence[Reading]) -> Iterator[tuple[int, Reading]]:
    """The lines that instruct: all but headings that have items and name no code themselves."""
    headed = {reading.heading for reading in readings}
    return (
        (index, one)
        for index, one in enumerate(readings)
        if one.references != PROSE or not (one.is_heading and index in headed)
    )


def _words(lines: Sequence[str], reading: Reading, index: int) -> str:
    heading = f"{lines[reading.heading]} " if reading.heading >= 0 else ""
    return " ".join(f"{heading}{lines[index]}".lstrip(" ,").split())
