"""Sets of codes by their written form."""

import pytest

from clinical_coding.codes import CodeSystem
from clinical_coding.edits.code_sets import CodeSpan, parse_codes


@pytest.mark.parametrize(
    ("written", "inside", "outside"),
    [
        ("I10", ["I10"], ["I1A.0", "I11.0"]),
        ("E11", ["E11", "E11.9", "E11.22"], ["E10.9", "E13.9"]),
        ("S72.-", ["S72.002A", "S72.9XXA"], ["S73.001A", "S71.001A"]),
        ("E11.2-", ["E11.21", "E11.22"], ["E11.3", "E11.9"]),
        ("E08-E13", ["E08.9", "E11.9", "E13.9"], ["E07.9", "E14.9"]),
        ("N18.1-N18.5", ["N18.1", "N18.31", "N18.5"], ["N18.6", "N18.9", "N17.9"]),
        ("I21-I22.1", ["I21.4", "I22.0", "I22.1"], ["I22.2", "I20.0"]),
        ("O00-O9A", ["O80", "O99.013", "O9A.111"], ["N99.0", "P00.0"]),
    ],
)
def test_a_span_holds_what_it_says(written: str, inside: list[str], outside: list[str]) -> None:
    span = CodeSpan.parse(written)
    assert span.system is CodeSystem.ICD10CM
    assert [code for code in inside if not span.holds(code)] == []
    assert [code for code in outside if span.holds(code)] == []


def test_systems_are_kept_apart() -> None:
    codes = parse_codes("cpt:99381-99387 hcpcs:G0121, I10")
    assert codes.holds(CodeSystem.CPT, "99385")
    assert codes.holds(CodeSystem.HCPCS, "G0121")
    assert codes.holds(CodeSystem.ICD10CM, "I10")
    assert not codes.holds(CodeSystem.HCPCS, "99385")
    assert str(codes) == "99381-99387, G0121, I10"


@pytest.mark.parametrize("written", ["", "E13-E08", "icd9:250", "cpt:99", "hello world", "-I10"])
def test_what_is_no_set_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="code"):
        CodeSpan.parse(written)
