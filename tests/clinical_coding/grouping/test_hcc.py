from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.codes import Code, CodeState, CodeSystem
from clinical_coding.grouping import HccCategory, find_hccs
from clinical_coding.records import Setting

MakeCodes = Callable[..., tuple[Code, ...]]


def found(hccs: tuple[HccCategory, ...]) -> list[tuple[str, str, bool, str | None]]:
    return [(hcc.key.removeprefix("icd10cm:"), hcc.hcc, hcc.counts, hcc.superseded_by) for hcc in hccs]


@pytest.mark.parametrize(
    ("diagnoses", "expected"),
    [
        ("I10 R07.9", []),
        ("I50.9", [("I50.9", "226", True, None)]),
        # Malnutrition left the model with V28.
        ("E43", []),
        # Hierarchy: complications of diabetes above diabetes without.
        ("E11.9 E11.22", [("E11.9", "38", False, "37"), ("E11.22", "37", True, None)]),
        ("C79.31 C50.912", [("C79.31", "17", True, None), ("C50.912", "23", False, "17")]),
        # No hierarchy across body systems; the order of the codes is kept.
        (
            "J44.1 F20.9 N18.4",
            [("J44.1", "280", True, None), ("F20.9", "151", True, None), ("N18.4", "327", True, None)],
        ),
    ],
)
def test_categories_of_diagnoses(diagnoses: str, expected: list[Any], make_codes: MakeCodes, make_stay: Any) -> None:
    assert found(find_hccs(make_stay(age=70), make_codes(diagnoses))) == expected


def test_a_category_has_model_and_words(make_codes: MakeCodes, make_stay: Any) -> None:
    (failure,) = find_hccs(make_stay(age=70), make_codes("I50.9", "5A1955Z"))
    assert failure.model == "CMS-HCC Model V28"
    assert failure.description == "Heart Failure, Except End-Stage and Acute"


def test_every_setting_has_them(make_codes: MakeCodes, make_stay: Any) -> None:
    for setting in Setting:
        assert len(find_hccs(make_stay(setting=setting), make_codes("I50.9"))) == 1


def test_rejected_codes_have_none(make_stay: Any) -> None:
    rejected = Code(system=CodeSystem.ICD10CM, code="I50.9", state=CodeState.NEGATIVE)
    assert find_hccs(make_stay(), [rejected]) == ()


@pytest.mark.parametrize(
    ("code", "changes", "categories"),
    [
        ("D66", {"sex": "M"}, ["111"]),
        ("D66", {"sex": "F"}, ["112"]),
        ("D66", {"sex": None}, ["111"]),
        ("J41.0", {"age": 40}, ["280"]),
        ("J41.0", {"age": 12}, []),
        ("J41.0", {"age": None}, ["280"]),
    ],
)
def test_edits_apply_where_age_and_sex_are_known(
    code: str, changes: Any, categories: list[str], make_codes: MakeCodes, make_stay: Any
) -> None:
    assert [hcc.hcc for hcc in find_hccs(make_stay(**changes), make_codes(code))] == categories


def test_a_file_in_the_working_folder_is_not_taken_for_the_table(
    make_codes: MakeCodes, make_stay: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clinical_coding.grouping.hcc import _load_tables

    (tmp_path / "ra_dx_to_cc_2026.csv").write_text("diagnosis_code,cc,model_name\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    _load_tables.cache_clear()
    assert len(find_hccs(make_stay(), make_codes("I50.9"))) == 1
