import pytest

from clinical_coding.code_library import CodeLibrary
from clinical_coding.tabular.instructions import CodeRange, InstructionKind
from clinical_coding.tabular.strictness import gives_examples, is_conditional

FIRST, MORE, ALSO = InstructionKind.CODE_FIRST, InstructionKind.USE_ADDITIONAL, InstructionKind.CODE_ALSO


def test_the_nearest_notes_come_first_then_those_of_ancestors_block_and_chapter(library: CodeLibrary) -> None:
    owners = [line.owner for line in library.instructions("A15.0", InstructionKind.EXCLUDES1)]
    assert list(dict.fromkeys(owners)) == ["A15-A19", "1"]
    owners = [line.owner for line in library.instructions("E08.65", FIRST)]
    assert set(owners) == {"E08"}
    assert library.instructions("E09.65", InstructionKind.EXCLUDES1)[0].owner == "E09"


def test_a_block_of_one_category_gives_its_notes_once(library: CodeLibrary) -> None:
    lines = library.instructions("C80.1", InstructionKind.EXCLUDES1)
    assert len(lines) == len(set(lines)) > 0


def test_codes_made_by_a_7th_character_have_the_notes_of_what_they_extend(library: CodeLibrary) -> None:
    assert library.instructions("S52.521A", InstructionKind.EXCLUDES1)
    assert library.instructions("S52.521A", ALSO) == library.instructions("S52.521", ALSO)


def test_an_unknown_code_has_no_notes_and_is_in_none(library: CodeLibrary) -> None:
    assert library.instructions("ZZZ.9", FIRST) == ()
    (line, *_) = library.instructions("F02.80", FIRST)
    assert not library.names(line, "ZZZ.9")


def test_a_heading_is_joined_to_its_items(library: CodeLibrary) -> None:
    notes = {line.note: line for line in library.instructions("M14.60", InstructionKind.EXCLUDES1)}
    diabetes = notes["arthropathy in: diabetes mellitus (E08-E13 with .61-)"]
    assert diabetes.ranges[0] == CodeRange("E08.610", "E08.618", diabetes.ranges[0].start, diabetes.ranges[0].stop)
    assert "enteropathic arthropathies (M07.-)" in notes


def test_ranges_are_in_order_apart_and_end_in_the_highest_code(library: CodeLibrary) -> None:
    lines = [line for kind in InstructionKind for block in library.note_blocks(kind) for line in block.instructions]
    assert len(lines) > 10_000
    for line in lines:
        bounds = [bound for one in line.ranges for bound in (one.start, one.stop)]
        assert bounds == sorted(set(bounds))
    (malaria,) = [line for line in lines if line.owner == "D63.8" and "malaria" in line.note]
    assert [(one.first, one.last) for one in malaria.ranges] == [("B50.0", "B54")]


@pytest.mark.parametrize(
    ("kind", "owner", "words", "is_conditional", "is_open"),
    [
        (FIRST, "G01", "underlying disease", False, True),
        (FIRST, "D63.0", "neoplasm", False, False),
        (FIRST, "D63.8", "hookworm", False, True),
        (FIRST, "F02", "Parkinson", False, True),
        (FIRST, "J12.82", "COVID-19", False, False),
        (FIRST, "M1A.1", "lead", False, False),
        (FIRST, "G46", "cerebrovascular", False, False),
        (FIRST, "B39", "AIDS", True, False),
        (FIRST, "M10.3", "renal disease", False, True),
        (FIRST, "B20", "complicating pregnancy", True, False),
        (FIRST, "I50", "due to hypertension (I11.0)", True, False),
        (FIRST, "I50", "rheumatic heart failure", True, False),
        (FIRST, "A41", "sepsis during labor", True, False),
        (FIRST, "F01", "any causal condition", True, True),
        (FIRST, "H54", "any associated underlying cause", True, True),
        (FIRST, "D64.2", "poisoning", True, False),
        (InstructionKind.EXCLUDES1, "E11", "gestational", False, False),
        (MORE, "E11", "insulin (Z79.4)", True, False),
        (MORE, "I12.9", "stage of chronic kidney disease", True, False),
        (MORE, "E88", "associated conditions", True, True),
        (MORE, "Z71.6", "nicotine dependence", False, False),
        (ALSO, "R11.16", "electrolyte", False, True),
    ],
)
def test_how_strictly_a_note_binds(
    library: CodeLibrary, kind: InstructionKind, owner: str, words: str, is_conditional: bool, is_open: bool
) -> None:
    blocks = [block for block in library.note_blocks(kind) if block.owner == owner]
    (line,) = [line for block in blocks for line in block.instructions if words in line.note]
    assert (line.is_conditional, line.is_open) == (is_conditional, is_open)


def test_a_line_beside_others_is_for_a_case_of_its_own() -> None:
    assert is_conditional(FIRST, "rheumatic heart failure (I09.81)", alternatives=True)
    assert not is_conditional(FIRST, "rheumatic heart failure (I09.81)", alternatives=False)
    assert gives_examples("underlying disease, such as: gout (M10.-)") and not gives_examples("gout (M10.-)")
