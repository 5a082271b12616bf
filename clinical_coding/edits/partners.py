"""Partners: the other codes that a code calls for, by "code first", "use additional code" and "code also".

Lines of one note that hang on one heading are alternatives; lines that stand by themselves are each due.
It judges no record. Source: Official Guidelines I.A.13 and I.A.17, and the notes of the tabular list.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from clinical_coding.code_library import CodeLibrary
from clinical_coding.tabular.instructions import CodeRange, Instruction, InstructionKind

__all__ = ["Partner", "is_partner", "partners_of"]

# A note "to identify" something binds only where that is documented; these every patient with the code has.
_ALWAYS_THERE: Final = re.compile(
    r"stage of (?:the )?chronic kidney disease|type of heart failure|(?:site|severity) (?:and severity )?of ulcer|"
    r"outcome of delivery|chemical and intent|toxic agent",
    re.IGNORECASE,
)
_OPTIONAL: Final = re.compile(
    r"(?:if|where|when|as) applicable|if any|if present|any associated|if desired|^any\b", re.IGNORECASE
)
_SHOWN: Final = 4
"""How many lines, and how many codes, of a note a finding quotes."""
_UNKNOWN: Final = re.compile(r"if known", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class Partner:
    """One thing that a note calls for."""

    kind: InstructionKind
    owner: str
    instructions: tuple[Instruction, ...]
    """Alternatives: any one will do."""
    is_due: bool
    """False where the note binds only under a condition that codes do not tell."""
    is_optional: bool
    """True where the note itself leaves it to the case: "if applicable", "any associated"."""
    is_open: bool
    """True where codes that the note does not name will do too."""
    is_near: bool
    """True where it is printed at the code itself or at a category or subcategory, not at a block or chapter."""

    @property
    def names_codes(self) -> bool:
        """True where the note says which codes it means."""
        return bool(self.instructions[0].ranges)

    @property
    def note(self) -> str:
        """The printed words: the heading once, the first few of its lines, and that there are more."""
        notes = [instruction.note for instruction in self.instructions]
        first, *others = [note for note in notes if not note.endswith(":")] or notes
        head, colon, _ = first.partition(": ")
        joined = [
            other.removeprefix(head + colon) for other in others[: _SHOWN - 1] if colon and other.startswith(head)
        ]
        more = len(others) - len(joined)
        return "; ".join([first, *joined]) + (f" (or {more} more)" if more else "")

    @property
    def codes(self) -> str:
        """The codes that the note names, as ranges, each once, the first few."""
        ranges = [item for instruction in self.instructions for item in instruction.ranges]
        widest = [item for item in ranges if not any(_lies_within(item, other) for other in ranges)]
        names = dict.fromkeys(item.first if item.first == item.last else f"{item.first}-{item.last}" for item in widest)
        return ", ".join([*names][:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _lies_within(one: CodeRange, other: CodeRange) -> bool:
    return (one.start, one.stop) != (other.start, other.stop) and other.start <= one.start and one.stop <= other.stop


def partners_of(library: CodeLibrary, code: str, kind: InstructionKind) -> tuple[Partner, ...]:
    """What the notes in force for a code call for, of one kind."""
    groups: dict[tuple[str, str], list[Instruction]] = {}
    above = ("", "")
    for instruction in library.instructions(code, kind):
        head, _, items = instruction.note.partition(":")
        # Code first: all lines of an owner are alternatives, each for another underlying disease.
        place = (instruction.owner, "" if kind is InstructionKind.CODE_FIRST else head)
        if not items and above[0] == instruction.owner:
            # A line under a heading that itself names codes: "code (B95-B97) to identify the agent, such as:".
            place = above
        elif instruction.note.rstrip().endswith(":") and instruction.ranges:
            above = place
        groups.setdefault(place, []).append(instruction)
    return tuple(_partner(kind, owner, tuple(lines)) for (owner, _), lines in groups.items())


def _partner(kind: InstructionKind, owner: str, lines: tuple[Instruction, ...]) -> Partner:
    return Partner(
        kind=kind,
        owner=owner,
        instructions=tuple(line for line in lines if line.ranges) or lines,
        is_due=not any(_is_conditional(line) for line in lines),
        is_optional=any(_OPTIONAL.search(line.note) for line in lines),
        is_open=any(line.is_open for line in lines),
        is_near=owner[0].isalpha() and "-" not in owner,
    )


def _is_conditional(line: Instruction) -> bool:
    if _ALWAYS_THERE.search(line.note) and not _UNKNOWN.search(line.note) and not _OPTIONAL.search(line.note):
        return False
    return line.is_conditional


@lru_cache(maxsize=1 << 18)
def is_partner(library: CodeLibrary, partner: Partner, code: str) -> bool:
    """Tell whether a code is one of those that a note names."""
    return any(library.names(instruction, code) for instruction in partner.instructions)
