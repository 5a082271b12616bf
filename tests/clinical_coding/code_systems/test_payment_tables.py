from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_coding.code_systems import PairEdits, UnitLimit, UnitLimits

EDITS = [
    ("29827", "29826", date(2020, 1, 1), date(2024, 12, 31), 0, "Historical"),
    ("29827", "29826", date(2025, 1, 1), None, 1, "Distinct service"),
    ("G0463", "99213", date(2026, 1, 1), date(2026, 1, 1), 0, "Never in force"),
    ("0001U", "0001A", date(1996, 1, 1), None, 9, "Standards"),
]


def test_an_edit_is_found_in_either_order_on_the_days_of_its_force() -> None:
    edits = PairEdits.of(EDITS).on(date(2026, 5, 1))
    found = edits.between("29826", "29827")
    assert found == edits.between("29827", "29826")
    assert found is not None and found.column1 == "29827" and found.modifier_allowed and found.deleted is None
    old = edits.on(date(2024, 12, 31)).between("29827", "29826")
    assert old is not None and not old.modifier_allowed and old.rationale == "Historical"
    assert old.deleted == date(2024, 12, 31)
    assert edits.on(date(2019, 12, 31)).between("29827", "29826") is None
    current = edits.on(None).between("29827", "29826")
    assert current is not None and current.deleted is None


def test_an_edit_deleted_on_its_first_day_never_was_and_nine_allows_no_modifier() -> None:
    edits = PairEdits.of(EDITS).on(date(2026, 1, 1))
    assert edits.between("G0463", "99213") is None
    not_applicable = edits.between("0001A", "0001U")
    assert not_applicable is not None and not not_applicable.modifier_allowed
    assert edits.between("29827", "99213") is None


codes = st.from_regex(r"[0-9A-Z]\d{3}[0-9A-Z]", fullmatch=True)


@given(pairs=st.sets(st.tuples(codes, codes), max_size=30))
def test_every_pair_is_found_after_the_round_trip_and_no_other(pairs: set[tuple[str, str]]) -> None:
    edits = PairEdits.of([(one, two, date(2020, 1, 1), None, 1, f"reason {one}") for one, two in pairs])
    read = PairEdits.from_bytes(edits.to_bytes()).on(date(2026, 1, 1))
    assert len(read) == len(pairs)
    for one, two in pairs:
        found = read.between(one, two)
        assert found is not None and {(found.column1, found.column2)} <= {(one, two), (two, one)}
        assert found.rationale == f"reason {found.column1}"
    assert all(read.between(one, "ZZZZZ") is None for one, _ in pairs)


@pytest.mark.parametrize(("code", "limit"), [("96372", 4), ("99213", None)])
def test_unit_limits(code: str, limit: int | None) -> None:
    limits = UnitLimits({"96372": UnitLimit(4, 3, "Clinical: Data")})
    read = UnitLimits.from_json(limits.to_json())
    assert read == limits and read.limit(code) == limit
