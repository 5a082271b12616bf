"""Codes of a system without categories, which come and go within a release."""

from datetime import date

import pytest

from clinical_coding.code_systems import CodeSystems, ReleasedSystem
from clinical_coding.code_systems.importing import import_release
from clinical_coding.data_directory import DataDirectory
from clinical_coding.records import CodedRecord
from training.code_validity import ValidCodes


def hcpcs_line(code: str, *, added: str, ended: str = "") -> str:
    return f"{code}001003{'Invented supply':<80}{'Invented supply':<28}{'':149}{added}{added}{ended:<8}{'':28}"


@pytest.fixture(scope="module")
def hcpcs(tmp_path_factory: pytest.TempPathFactory) -> CodeSystems:
    """A small release of HCPCS from January 2026, one of whose codes ends in March."""
    folder, start = tmp_path_factory.mktemp("hcpcs"), date(2026, 1, 1)
    path, directory = folder / "HCPC2026_ANWEB.txt", DataDirectory.locate(folder)
    lines = [hcpcs_line("A9001", added="20260101"), hcpcs_line("A9002", added="20200101", ended="20260331")]
    path.write_text("\n".join(lines) + "\n")
    import_release(ReleasedSystem.HCPCS, [path], name="2026-01", effective_from=start, directory=directory)
    return CodeSystems.open(directory.code_systems)


@pytest.mark.parametrize(
    ("code", "release", "day", "fate"),
    [
        ("A9001", None, "2026-02-01", "valid"),
        ("A9001", "2026-01", "2026-02-01", "valid"),
        ("A9002", None, "2026-02-01", "valid"),
        # Its own last day has passed.
        ("A9002", None, "2026-05-01", "dropped-deleted"),
        ("A9002", "2026-01", "2026-05-01", "dropped-deleted"),
        ("A9003", None, "2026-05-01", "dropped-unknown"),
        ("A9003", "2025-10", "2026-05-01", "not-judged"),
        ("A9003", None, "2025-05-01", "not-judged"),
    ],
)
def test_single_codes_of_hcpcs_come_and_go(
    hcpcs: CodeSystems, code: str, release: str | None, day: str, fate: str
) -> None:
    encounter = {"setting": "outpatient", "specialty": "cardiology", "service_start": day}
    fields = {"record_id": "r1", "patient_id": "p1", "encounter": encounter, "notes": [{"note_id": "n1", "text": "x"}]}
    stated = {"system": "hcpcs", "code": code, "release": release}
    codes = [stated, {"system": "icd10cm", "code": "I10", "release": "2026-04"}]
    valid_codes = ValidCodes(hcpcs)
    (settled,) = valid_codes.settle([CodedRecord.model_validate(fields | {"codes": codes})])
    counts = valid_codes.counts()
    assert counts.codes[fate] == 1 + (fate == "valid")
    # There are no categories that would say what is near.
    assert (settled.unlisted == "unknown") is fate.startswith("dropped-")
    assert len(settled.codes) == 1 + (not fate.startswith("dropped-"))
