import pytest

from clinical_coding.code_library import CodeLibrary


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("F02.80", True),
        ("D63.1", True),
        ("G63", True),
        ("H42", True),
        ("M14.60", True),
        ("F54", True),
        ("R50.81", True),
        ("Z91.83", True),
        # no "classified elsewhere" in the title, and a note that asks for the disease
        ("E08.9", True),
        ("F05", True),
        ("G46.3", True),
        ("M10.30", True),
        # a note alone
        ("M40.00", False),
        ("M02.30", False),
        ("J34.8200", False),
        ("N48.30", False),
        ("D61.2", False),
        ("C46.9", False),
        ("I50.9", False),
        # an agent is named beside a disease, and is none
        ("B96.20", False),
        ("E11.9", False),
        ("I10", False),
        ("ZZZ.9", False),
    ],
)
def test_manifestations_are_told_by_title_or_by_title_and_note(library: CodeLibrary, code: str, expected: bool) -> None:
    assert library.is_manifestation(code) is expected
