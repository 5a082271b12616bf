"""What the tabular list's notes say, as data: kinds of instruction, code ranges, instructions, blocks.

Edits and queries read these. They know nothing of how a note is parsed. Source: the conventions of
the ICD-10-CM Official Guidelines for Coding and Reporting, sections I.A.12 to I.A.17.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["CodeRange", "Instruction", "InstructionKind", "NoteBlock"]


class InstructionKind(StrEnum):
    """The instructional notes of the tabular list."""

    EXCLUDES1 = "excludes1"
    """Not coded here: the two never stand together (I.A.12.a)."""
    EXCLUDES2 = "excludes2"
    """Not included here: both may stand (I.A.12.b)."""
    CODE_FIRST = "code-first"
    """Another code comes before this one (I.A.13)."""
    USE_ADDITIONAL = "use-additional-code"
    """Another code follows this one (I.A.13, I.A.17)."""
    CODE_ALSO = "code-also"
    """Another code may be required, in either order (I.A.17)."""
    INCLUDES = "includes"
    """What the owner covers (I.A.10)."""


@dataclass(frozen=True, slots=True)
class CodeRange:
    """Neighbouring codes of the tabular list, ends and all that lies below them included."""

    first: str
    last: str
    """The highest code that ends the range: ``A09`` for (A00-A09), though codes may lie below it."""
    start: int
    """Row of ``first`` in the release's tabular order."""
    stop: int
    """One past the last row."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of a note."""

    kind: InstructionKind
    owner: str
    """Where it is printed: a code, a block such as ``A15-A19``, or a chapter's number."""
    note: str
    """The printed words; a heading is joined to its item: "arthropathy in: sarcoidosis (D86.86)"."""
    ranges: tuple[CodeRange, ...]
    """In tabular order, none overlapping; empty when the line names no code."""

    is_conditional: bool = False
    """True when it binds only where something else holds: "if applicable", "any associated", "to identify"."""
    is_open: bool = False
    """True when codes that it does not name satisfy it too: it gives examples ("such as"), or names none."""


@dataclass(frozen=True, slots=True)
class NoteBlock:
    """All lines of one note, as they are printed together."""

    kind: InstructionKind
    owner: str
    lines: tuple[str, ...]
    """The printed lines, headings among them."""
    instructions: tuple[Instruction, ...]
    """One a line; a heading with items is no instruction of its own."""
    is_parsed: bool
    """True when every line is understood: it names codes of the release, or heads lines that do."""
