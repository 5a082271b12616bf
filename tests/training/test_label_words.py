"""The words that stand for labels: official where they are held and free, our own for CPT."""

from datetime import date
from typing import Any

import pytest

from clinical_coding.code_library import describe
from clinical_coding.code_systems import CodeSystems, ReleasedSystem
from clinical_coding.code_systems.importing import import_release
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.data_directory import DataDirectory
from training.label_space import build_label_space
from training.label_words import description_of, terms_of

HCPCS, PCS, CPT, CM = CodeSystem.HCPCS, CodeSystem.ICD10PCS, CodeSystem.CPT, CodeSystem.ICD10CM
INVENTED = "Words of an invented licensee"


def hcpcs_line(code: str, words: str) -> str:
    dates = "20260101" * 2
    return f"{code}00100{'3'}{words:<80}{words[:28]:<28}{'':149}{dates}{'':35}"


@pytest.fixture(scope="module")
def systems(import_icd10cm: Any, tmp_path_factory: pytest.TempPathFactory) -> CodeSystems:
    """One small release of each system; of ICD-10-CM one before the embedded one."""
    data_dir = tmp_path_factory.mktemp("words")
    import_icd10cm(data_dir, {"I10": "Hypertension in older words"}, start=date(2025, 10, 1))
    pcs = f"00001 {'02703DZ':<7} 1 {'Dilate one artery':<60} Dilation of one artery, official words\n"
    files = {
        ReleasedSystem.ICD10PCS: ("icd10pcs_order_2026.txt", pcs, date(2025, 10, 1)),
        ReleasedSystem.HCPCS: ("HCPC2026_ANWEB.txt", hcpcs_line("J1885", "Official words") + "\n", date(2026, 1, 1)),
        ReleasedSystem.CPT: ("cpt2026.txt", f"99213\t{INVENTED}\n", date(2026, 1, 1)),
    }
    for system, (name, text, start) in files.items():
        path = data_dir / name
        path.write_text(text)
        directory = DataDirectory.locate(data_dir)
        import_release(system, [path], name=f"{start:%Y-%m}", effective_from=start, directory=directory)
    return CodeSystems.open(DataDirectory.locate(data_dir).code_systems)


@pytest.mark.parametrize(
    ("system", "code", "release", "expected"),
    [
        (PCS, "02703DZ", "2025-10", "Dilation of one artery, official words"),
        (HCPCS, "J1885", "2026-01", "Official words"),
        (HCPCS, "J1885", None, "Official words"),
        (CM, "I10", "2025-10", "Hypertension in older words"),
        (CM, "I10", "2026-04", "Essential (primary) hypertension"),
        # Not held: the embedded release's words, of the nearest category where it must be.
        (CM, "I10", None, "Essential (primary) hypertension"),
        (CM, "I50.99", "icd10es-2018", "Heart failure, unspecified"),
        # Not in the release that it is judged by.
        (CM, "E11.9", "2025-10", "Type 2 diabetes mellitus without complications"),
    ],
)
def test_official_words_of_the_code_s_own_edition(
    systems: CodeSystems, system: CodeSystem, code: str, release: str | None, expected: str
) -> None:
    assert description_of(system, code, release=release, systems=systems) == expected


@pytest.mark.parametrize("release", ["2026-01", None])
def test_the_licensed_descriptor_never_enters_a_bundle(systems: CodeSystems, release: str | None) -> None:
    assert systems.describe(CPT, "99213") == INVENTED
    words = description_of(CPT, "99213", release=release, systems=systems)
    assert words == describe(CPT, "99213", None) != INVENTED
    space = build_label_space([Code(system=CPT, code="99213", release=release)], systems=systems)
    assert INVENTED not in str(space)


@pytest.mark.parametrize(
    ("system", "code", "release"),
    [(CM, "I10", "2026-04"), (CM, "I50.2", "icd10es-2018"), (HCPCS, "J1885", None), (PCS, "02703DZ", None)],
)
def test_without_imports_the_words_are_those_of_the_library(system: CodeSystem, code: str, release: str | None) -> None:
    assert description_of(system, code, release=release, systems=CodeSystems.embedded()) == describe(
        system, code, release
    )


@pytest.mark.parametrize(
    ("code", "release", "term"),
    [("N17.9", "2026-04", "Acute kidney injury (nontraumatic)"), ("I10", "2025-10", None)],
)
def test_terms_begin_with_the_description(systems: CodeSystems, code: str, release: str, term: str | None) -> None:
    description = description_of(CM, code, release=release, systems=systems)
    first, *terms = terms_of(CM, code, description=description, release=release, systems=systems)
    assert first == description
    assert terms == ([term] if term else [])


def test_the_bare_code_stands_for_itself_where_there_are_no_words(systems: CodeSystems) -> None:
    assert terms_of(CPT, "01999", description=None, release=None, systems=systems) == ("cpt 01999",)
