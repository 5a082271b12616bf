from datetime import date

import pytest
from pydantic import ValidationError

from clinical_coding.code_systems.releases import (
    Release,
    ReleasedSystem,
    check_name,
    fiscal_year,
    in_order,
    refuse_overlap,
)


def release(start: str, end: str | None = None, system: ReleasedSystem = ReleasedSystem.HCPCS) -> Release:
    return Release(
        system=system,
        name=start[:7],
        effective_from=date.fromisoformat(start),
        effective_to=None if end is None else date.fromisoformat(end),
        sha256=f"{start}{end}".encode().hex()[:64].ljust(64, "0"),
        sources={},
        counts={},
    )


def test_a_release_without_an_end_holds_to_the_day_before_the_next() -> None:
    ordered = in_order([release("2026-07-01"), release("2026-01-01"), release("2026-10-01", "2026-12-31")])
    assert [(one.name, one.effective_to) for one in ordered] == [
        ("2026-01", date(2026, 6, 30)),
        ("2026-07", date(2026, 9, 30)),
        ("2026-10", date(2026, 12, 31)),
    ]
    assert in_order([release("2026-01-01")])[0].effective_to is None


@pytest.mark.parametrize(
    ("new", "held", "message"),
    [
        (("2026-04-01", None), ("2026-04-01", "2026-06-30"), "one release starts on a day"),
        (("2026-04-01", None), ("2026-01-01", "2026-04-01"), "give --effective-from 2026-04-02 or later"),
        (("2026-01-01", "2026-04-01"), ("2026-04-01", None), "give --effective-to 2026-03-31 or earlier"),
        (("2026-04-02", None), ("2026-04-01", None), "has the name of .*give an --effective-from in another month"),
    ],
)
def test_stated_dates_that_overlap_are_refused_with_both_names_and_the_remedy(
    new: tuple[str, str | None], held: tuple[str, str | None], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        refuse_overlap(release(*new), held=[release(*held)])
    assert f"{new[0][:7]} ({new[0]}" in str(caught.value) and f"{held[0][:7]} ({held[0]}" in str(caught.value)


@pytest.mark.parametrize(
    ("new", "held"),
    [
        (("2026-04-01", None), ("2026-01-01", None)),
        (("2026-01-01", None), ("2026-04-01", None)),
        (("2026-04-01", "2026-06-30"), ("2026-01-01", "2026-03-31")),
    ],
)
def test_open_ends_and_neighbours_do_not_overlap(new: tuple[str, str | None], held: tuple[str, str | None]) -> None:
    refuse_overlap(release(*new), held=[release(*held)])


def test_releases_round_trip_and_refuse_dates_out_of_order() -> None:
    one = release("2026-01-01", "2026-03-31")
    assert Release.model_validate_json(one.model_dump_json()) == one
    with pytest.raises(ValidationError, match="effective_to 2025-01-01 must not be before"):
        release("2026-01-01", "2025-01-01")


@pytest.mark.parametrize(
    ("name", "message"),
    [("October 2026", "is not a year and month"), ("2026-13", "is not"), ("2026-04", "does not fit")],
)
def test_a_release_is_named_by_the_month_of_its_start(name: str, message: str) -> None:
    check_name("2026-10", effective_from=date(2026, 10, 1))
    with pytest.raises(ValueError, match=rf"{message}.*2026-10"):
        check_name(name, effective_from=date(2026, 10, 1))


def test_fiscal_years_begin_in_october() -> None:
    assert [fiscal_year(date(2026, month, 1)) for month in (1, 9, 10, 12)] == [2026, 2026, 2027, 2027]
    assert ReleasedSystem.ICD10PCS.year_of(date(2026, 10, 1)) == 2027
    assert ReleasedSystem.HCPCS.year_of(date(2026, 10, 1)) == 2026
