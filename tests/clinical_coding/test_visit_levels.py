import pytest

from clinical_coding.visit_levels import level_of


@pytest.mark.parametrize(("lower", "higher"), [("99202", "99205"), ("99212", "99215"), ("99281", "99285")])
def test_levels_rise_within_a_family(lower: str, higher: str) -> None:
    low, high = level_of(f"cpt:{lower}"), level_of(f"cpt:{higher}")
    assert low and high and low[0] == high[0] and low[1] < high[1]


def test_new_and_established_patients_are_two_families() -> None:
    new, established = level_of("cpt:99204"), level_of("cpt:99214")
    assert new and established and new[0] != established[0]


@pytest.mark.parametrize("key", ["cpt:93000", "cpt:99201", "icd10cm:I10", "hcpcs:99214"])
def test_other_codes_have_no_level(key: str) -> None:
    assert level_of(key) is None
