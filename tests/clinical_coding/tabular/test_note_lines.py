import re

import pytest

from clinical_coding.code_library import CodeLibrary
from clinical_coding.tabular.instructions import InstructionKind
from clinical_coding.tabular.note_lines import PROSE, is_parsed, read_lines

E1, FIRST = InstructionKind.EXCLUDES1, InstructionKind.CODE_FIRST

NOTES = [
    (E1, ["gout (1)"], [(1, -1)], True),
    (E1, ["arthropathy in:", "diabetes (1)", "sarcoidosis (2)"], [None, (1, 0), (2, 0)], True),
    # a break of the alphabetical order, back to the heading's own, ends its items
    (E1, ["arthropathy in:", "sarcoidosis (1)", "enteropathic arthropathies (2)"], [None, (1, 0), (2, -1)], True),
    (E1, ["myocarditis (in):", "Chagas' disease (1)", "acute (2)"], [None, (1, 0), (2, 0)], True),
    (E1, ["fall from:", "bed (1)", "fall in:", "bath (2)"], [None, (1, 0), None, (2, 2)], True),
    (E1, ["poisoning by and underdosing of", "calcium-channel blockers (1)"], [None, (1, 0)], True),
    # a heading that names codes is an instruction too
    (FIRST, ["infection (1), such as:", "sepsis (2)"], [(1, -1), (2, 0)], True),
    # items of an order are printed in any order
    (FIRST, ["disease, such as:", "zoster (1)", "gout (2)"], [None, (1, 0), (2, 0)], True),
    (E1, ["current injury - see Alphabetical Index", "gout (1)"], [(PROSE, -1), (1, -1)], False),
    (E1, ["arthropathy in:", "known disease", "lead (1)"], [None, (PROSE, 0), (1, 0)], False),
    (E1, ["arthropathy in:", "known disease"], [None, (PROSE, 0)], False),
    (E1, ["arthropathy in:"], [(PROSE, -1)], False),
]


def number_in_brackets(line: str) -> int:
    found = re.search(r"\((\d)\)", line)
    return int(found[1]) if found else PROSE


@pytest.mark.parametrize(("kind", "lines", "expected", "parsed"), NOTES)
def test_lines_are_items_headings_or_prose(
    kind: InstructionKind, lines: list[str], expected: list[tuple[int, int] | None], parsed: bool
) -> None:
    readings = read_lines(lines, kind=kind, references=number_in_brackets)
    pure_headings = [reading.is_heading and reading.references == PROSE for reading in readings]
    assert pure_headings == [one is None for one in expected]
    assert [(one.references, one.heading) for one, head in zip(readings, pure_headings, strict=True) if not head] == [
        one for one in expected if one
    ]
    assert is_parsed(readings) is parsed


def test_at_least_97_percent_of_the_excludes1_notes_are_understood_line_by_line(library: CodeLibrary) -> None:
    blocks = library.note_blocks(E1)
    assert len(blocks) == 2_644
    assert sum(block.is_parsed for block in blocks) == 2_573
    assert 2_573 / 2_644 >= 0.97


@pytest.mark.parametrize(
    ("kind", "notes", "understood"),
    [
        (InstructionKind.EXCLUDES2, 1_165, 1_151),
        (InstructionKind.CODE_FIRST, 363, 286),
        (InstructionKind.USE_ADDITIONAL, 844, 703),
        (InstructionKind.CODE_ALSO, 320, 240),
        (InstructionKind.INCLUDES, 415, 10),
    ],
)
def test_other_notes_are_counted_too(library: CodeLibrary, kind: InstructionKind, notes: int, understood: int) -> None:
    blocks = library.note_blocks(kind)
    assert (len(blocks), sum(block.is_parsed for block in blocks)) == (notes, understood)


def test_every_line_that_writes_a_code_is_understood_but_two_that_write_codes_of_no_release(
    library: CodeLibrary,
) -> None:
    written = re.compile(r"\b[A-Z]\d[0-9A-Z]\.|\b[A-Z]\d[0-9A-Z]-|\([A-Z]\d[0-9A-Z]\)")
    unread = [
        (block.owner, line.note)
        for kind in InstructionKind
        for block in library.note_blocks(kind)
        for line in block.instructions
        if not line.ranges and written.search(line.note)
    ]
    assert unread == [
        ("R10.85", "localized abdominal pain (R10.1-R10.4-)"),
        (
            "F02",
            "the underlying physiological condition, such as: other frontotemporal neurocognitive disorder (G31.90)",
        ),
    ]
    assert library.get("R10.4") is library.get("G31.90") is None
