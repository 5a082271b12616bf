import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clinical_coding.code_library import CODIESP_RELEASE, ICD10CM_RELEASE, CodeLibrary, describe, load_icd10cm
from clinical_coding.codes import CodeSystem

_load_anew = load_icd10cm.__wrapped__


@pytest.fixture(scope="module")
def library() -> CodeLibrary:
    return load_icd10cm()


def test_entries_say_what_the_tabular_list_says(library: CodeLibrary) -> None:
    entry = library.get("I21.4")
    assert entry is not None and entry.is_leaf
    assert entry.description == "Non-ST elevation (NSTEMI) myocardial infarction"
    assert "Nontransmural myocardial infarction NOS" in entry.inclusion_terms
    assert entry.parent == "I21"
    assert entry.chapter == "Diseases of the circulatory system (I00-I99)"
    category = library.get("I21")
    assert category is not None and category.parent is None and not category.is_leaf


def test_seventh_characters_are_codes_with_the_terms_of_what_they_extend(library: CodeLibrary) -> None:
    extended, base = library.get("T36.0X1A"), library.get("T36.0X1")
    assert extended is not None and base is not None
    assert extended.description.endswith("accidental (unintentional), initial encounter")
    assert extended.parent == base.code
    assert extended.inclusion_terms == base.inclusion_terms
    assert extended.is_leaf and not base.is_leaf


@pytest.mark.parametrize(
    ("code", "valid"),
    [
        ("I10", True),
        ("S52.521A", True),
        ("QA0.0101", True),
        ("S52.521", False),
        ("I21", False),
        ("i21.4", False),
        ("I21.45", False),
        ("C00-C96", False),
        ("1", False),
    ],
)
def test_only_leaves_are_valid(library: CodeLibrary, code: str, valid: bool) -> None:
    assert library.is_valid(code) is valid


def test_leaves_are_all_valid_codes_once_each(library: CodeLibrary) -> None:
    leaves = library.leaves()
    assert len(leaves) == len(set(leaves)) == 74_719
    assert all(library.is_valid(code) for code in leaves)
    assert library.release == ICD10CM_RELEASE == "2026-04"


def test_siblings_share_the_parent(library: CodeLibrary) -> None:
    assert library.siblings("I21.4") == ("I21.3", "I21.9", "I21.B")
    assert "S52.521D" in library.siblings("S52.521A")
    assert library.siblings("I10") == library.siblings("ZZZ.9") == ()


def test_unknown_codes_have_their_nearest_ancestor(library: CodeLibrary) -> None:
    found = {code: library.nearest_ancestor(code) for code in ("I21.45", "I21.4", "Z99.XX", "X99.9", "ZZZ.9", "Z")}
    assert {code: entry and entry.code for code, entry in found.items()} == {
        "I21.45": "I21.4",
        "I21.4": "I21.4",
        "Z99.XX": "Z99",
        "X99.9": "X99.9",
        "ZZZ.9": None,
        "Z": None,
    }


def test_descriptions_depend_on_the_release() -> None:
    assert describe(CodeSystem.ICD10CM, "I10", ICD10CM_RELEASE) == "Essential (primary) hypertension"
    assert describe(CodeSystem.ICD10CM, "I10.9", ICD10CM_RELEASE) is None
    assert describe(CodeSystem.ICD10CM, "I10.9", CODIESP_RELEASE) == "Essential (primary) hypertension"
    assert describe(CodeSystem.ICD10PCS, "BW03", CODIESP_RELEASE) is None
    assert describe(CodeSystem.CPT, "00000", None) is None


@pytest.fixture
def cache_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _load_anew()
    yield next((tmp_path / "chartloop").iterdir())


def test_the_cache_gives_what_the_package_gave(cache_file: Path, library: CodeLibrary) -> None:
    started = time.perf_counter()
    cached = _load_anew()
    assert time.perf_counter() - started < 1.0
    assert cached.leaves() == library.leaves()
    assert all(cached.get(code) == library.get(code) for code in library.leaves()[::97])


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied"])
def test_a_damaged_cache_is_built_anew(cache_file: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = cache_file.read_bytes()
    changed = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    cache_file.write_bytes({"cut": whole[: len(whole) // 2], "changed": changed, "emptied": b""}[damage])
    assert _load_anew().is_valid("I21.4")
    assert "is damaged and is built anew" in caplog.text
    assert cache_file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "file"))
    assert _load_anew().is_valid("I21.4")
    assert "cannot be cached" in caplog.text
