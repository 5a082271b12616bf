from datetime import date

import pytest
from drgpy import _versions

from clinical_coding.grouping.grouper import load_grouper
from clinical_coding.grouping.versions import VERSIONS, choose_version


def test_the_versions_are_those_of_the_package() -> None:
    assert {version.name: version.effective_date for version in _versions.SUPPORTED_VERSIONS} == VERSIONS


@pytest.mark.parametrize(
    ("on", "name", "is_of_date"),
    [
        (None, "v43.1", False),
        (date(2015, 1, 1), "v36", False),
        (date(2018, 9, 30), "v36", False),
        (date(2018, 10, 1), "v36", True),
        (date(2019, 9, 30), "v36", True),
        (date(2023, 3, 31), "v40", True),
        (date(2023, 4, 1), "v40", False),
        (date(2023, 10, 1), "v41", True),
        (date(2024, 3, 31), "v41", True),
        (date(2024, 4, 1), "v41.1", True),
        (date(2025, 10, 1), "v43", True),
        (date(2026, 9, 30), "v43.1", True),
        (date(2026, 10, 1), "v43.1", False),
    ],
)
def test_a_date_chooses_the_version_in_force_else_the_nearest(on: date | None, name: str, is_of_date: bool) -> None:
    choice = choose_version(on)
    assert (choice.name, choice.is_of_date) == (name, is_of_date)
    assert (choice.remark is None) == is_of_date
    if choice.remark is not None:
        assert name in choice.remark


def test_a_version_is_loaded_once() -> None:
    assert load_grouper("v43.1") is load_grouper("v43.1")
    assert load_grouper("v43.1").version == "v43.1"


# Codes that came with a midyear edition tell which edition the tables are of.
@pytest.mark.parametrize(
    ("version", "code", "is_there"), [("v37", "U071", True), ("v38", "J1282", True), ("v40", "Z556", False)]
)
def test_which_edition_the_tables_are(version: str, code: str, is_there: bool) -> None:
    assert load_grouper(version).knows(code) is is_there
