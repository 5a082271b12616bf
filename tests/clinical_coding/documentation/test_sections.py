import pytest

from clinical_coding.documentation import SectionKind
from clinical_coding.documentation.sections import find_sections


def kinds(text: str) -> list[SectionKind]:
    return [section.kind for section in find_sections(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HISTORY OF PRESENT ILLNESS:\ncough", SectionKind.PRESENT_ILLNESS),
        ("HPI: cough", SectionKind.PRESENT_ILLNESS),
        ("PMH: gout", SectionKind.PAST_HISTORY),
        ("PMHx - gout", SectionKind.PAST_HISTORY),
        ("FHx: gout", SectionKind.FAMILY_HISTORY),
        ("Fam Hx: gout", SectionKind.FAMILY_HISTORY),
        ("Family Medical History\ngout", SectionKind.FAMILY_HISTORY),
        ("Assessment & Plan: gout", SectionKind.ASSESSMENT),
        ("Assessment/Plan:\n- gout", SectionKind.ASSESSMENT),
        ("A/P: gout", SectionKind.ASSESSMENT),
        ("A&P\n- gout", SectionKind.ASSESSMENT),
        ("## Impression\ngout", SectionKind.ASSESSMENT),
        ("**Family History:** gout", SectionKind.FAMILY_HISTORY),
        ("3. ASSESSMENT AND PLAN:\ngout", SectionKind.ASSESSMENT),
        ("IV. Plan:\nrest", SectionKind.PLAN),
        ("  Review of Systems (12 point): negative", SectionKind.REVIEW_OF_SYSTEMS),
        ("DISCHARGE DIAGNOSES:\n1. Gout", SectionKind.FINAL_DIAGNOSIS),
        ("Admitting diagnosis: gout", SectionKind.ADMISSION_DIAGNOSIS),
        ("ED Course: stable", SectionKind.EMERGENCY_COURSE),
        ("Return precautions: fever", SectionKind.RETURN_PRECAUTIONS),
        ("SPECIAL CONSIDERATIONS:\nnone", SectionKind.OTHER),
        ("Home safety:\nreviewed", SectionKind.OTHER),
    ],
)
def test_headings(text: str, expected: SectionKind) -> None:
    (section,) = find_sections(text)
    assert section.kind is expected
    assert section.start == 0 < section.heading_end < section.end == len(text)


@pytest.mark.parametrize(
    "text",
    [
        "She has a family history of gout",
        "We agreed on a\nplan\nand a date",
        "Mother: gout",
        "BP 120/80, pulse 70",
        "Nausea: none",
        "gout",
    ],
)
def test_what_is_no_heading(text: str) -> None:
    assert kinds(text) == [SectionKind.NONE]


def test_a_heading_may_stand_within_a_line() -> None:
    text = "Lives alone. Family history: gout. Plan: rest."
    assert kinds(text) == [SectionKind.NONE, SectionKind.FAMILY_HISTORY, SectionKind.PLAN]


def test_an_unknown_heading_ends_a_section() -> None:
    text = "Family History:\ngout\nOCCUPATIONAL EXPOSURE:\nasbestos"
    assert kinds(text) == [SectionKind.FAMILY_HISTORY, SectionKind.OTHER]


def test_a_relative_in_capitals_does_not_end_the_family_history() -> None:
    assert kinds("FAMILY HISTORY:\nMOTHER: gout\nFATHER: asthma") == [SectionKind.FAMILY_HISTORY]


def test_an_empty_line_ends_the_family_history_only() -> None:
    assert kinds("Family History:\n\ngout\n\nHe walks.") == [SectionKind.FAMILY_HISTORY, SectionKind.OTHER]
    assert kinds("Assessment:\ngout\n\nHe walks.") == [SectionKind.ASSESSMENT]


def test_heading_offsets_hold_the_heading() -> None:
    text = "Cough.\n\nPMH: gout\nPlan: rest"
    assert [text[item.heading_start : item.heading_end] for item in find_sections(text)] == ["", "PMH:", "Plan:"]
