from datetime import date
from pathlib import Path

import pytest

from clinical_coding.code_systems import CodeSystems, ReleasedSystem
from clinical_coding.code_systems.importing import import_release
from clinical_coding.codes import CodeSystem
from clinical_coding.data_directory import DataDirectory
from feedback.code_validity import check_valid
from feedback.errors import InvalidError

MAY, NOVEMBER = date(2026, 5, 1), date(2026, 11, 1)


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> CodeSystems:
    """The embedded release, a later one of two codes, and a list of CPT codes."""
    folder: Path = tmp_path_factory.mktemp("releases")
    directory = DataDirectory.locate(folder / "data")
    rows = [("I21", 0, "Infarction"), ("I214", 0, "NSTEMI"), ("I2141", 1, "Finer")]
    lines = (f"{number:05} {code:<7} {valid} {words:<60} {words}\n" for number, (code, valid, words) in enumerate(rows))
    (folder / "order.txt").write_text("".join(lines))
    (folder / "codes.txt").write_text("99214\tOur words\n")
    for system, name, start in (
        (ReleasedSystem.ICD10CM, "order.txt", date(2026, 10, 1)),
        (ReleasedSystem.CPT, "codes.txt", date(2026, 1, 1)),
    ):
        import_release(system, [folder / name], name=f"{start:%Y-%m}", effective_from=start, directory=directory)
    return CodeSystems.open(directory.code_systems)


@pytest.mark.parametrize(
    ("system", "code", "on", "message"),
    [
        ("icd10cm", "I21.4", MAY, None),
        (
            "icd10cm",
            "I21.4",
            NOVEMBER,
            "release 2026-10, which applies to the date of coding 2026-11-01 (nearest: I21.41)",
        ),
        ("icd10cm", "I21.41", NOVEMBER, None),
        ("icd10cm", "I21.41", None, None),
        (
            "icd10cm",
            "I21.41",
            MAY,
            "release 2026-04, which applies to the date of coding 2026-05-01 (a later release has",
        ),
        (
            "icd10cm",
            "J45.909",
            NOVEMBER,
            "which applies to the date of coding 2026-11-01 (it was deleted); give a valid",
        ),
        ("cpt", "99214", MAY, None),
        ("cpt", "99215", None, "'99215' is not a valid code of CPT release 2026-01, which applies to an unknown date"),
        ("hcpcs", "J1885", MAY, None),
    ],
)
def test_codes_are_judged_by_the_release_of_the_date_of_service(
    systems: CodeSystems, system: str, code: str, on: date | None, message: str | None
) -> None:
    if message is None:
        check_valid(CodeSystem(system), code, field="codes.0.to", on=on, systems=systems)
        return
    with pytest.raises(InvalidError) as caught:
        check_valid(CodeSystem(system), code, field="codes.0.to", on=on, systems=systems)
    assert message in str(caught.value)
