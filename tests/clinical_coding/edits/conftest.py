from collections.abc import Sequence
from datetime import date

import pytest

from clinical_coding.code_systems import CodeSystems, ReleasedSystem
from clinical_coding.code_systems.importing import import_release
from clinical_coding.data_directory import DataDirectory
from clinical_coding.edits import MedicalNecessity

PAIRS = """Column1/Column2 Edits\t\t\t\t\t\t
Column 1\tColumn 2\t* = In existence prior to 1996\tEffective Date\tDeletion Date *=no data\t\
Modifier 0=not allowed 1=allowed 9=not applicable\tPTP Edit Rationale
29881\t29870\t\t20150101\t*\t0\tHCPCS/CPT procedure code definition
11042\t97597\t\t20150101\t*\t1\tMisuse of column two code with column one code
43239\t43235\t\t20150101\t*\t1\tMore extensive procedure
12001\t11900\t\t20150101\t20200101\t0\tStandards of medical / surgical practice
"""
LIMITS = """HCPCS/CPT Code\tPractitioner Services MUE Values\tMUE Adjudication Indicator\tMUE Rationale
20610\t2\t1 Line Edit\tAnatomic Consideration
93306\t1\t3 Date of Service Edit: Clinical\tNature of Service/Procedure
J1885\t8\t3 Date of Service Edit: Clinical\tPrescribing Information
"""
NEXT_YEAR = ["A00", "A000", "A001", "A002", "I10", "Z99", "Z998"]
PROCEDURES = ["027", "02703DZ", "0DTJ4ZZ", "30233N1"]


def order_file(codes: Sequence[str]) -> str:
    """The official layout: number, code, header flag, short and long description."""
    return "".join(
        f"{place:05d} {code:<7} {int(not any(other != code and other.startswith(code) for other in codes))} "
        f"{'Synthetic entry ' + code:<60} Synthetic entry {code}\n"
        for place, code in enumerate(codes, start=1)
    )


@pytest.fixture(scope="session")
def systems(tmp_path_factory: pytest.TempPathFactory) -> CodeSystems:
    """The embedded release, a small one after it, and small tables of everything else that edits look at."""
    root = tmp_path_factory.mktemp("systems")
    directory = DataDirectory(root / "data")
    for system, name, text, release, start in (
        (ReleasedSystem.ICD10CM, "icd10cm_order_2027.txt", order_file(NEXT_YEAR), "2026-10", date(2026, 10, 1)),
        (ReleasedSystem.ICD10PCS, "icd10pcs_order_2026.txt", order_file(PROCEDURES), "2025-10", date(2025, 10, 1)),
        (ReleasedSystem.NCCI_PTP, "ccipra-2026-q2.txt", PAIRS, "2026-04", date(2026, 4, 1)),
        (ReleasedSystem.NCCI_MUE, "mue-2026-q2.txt", LIMITS, "2026-04", date(2026, 4, 1)),
    ):
        path = root / name
        path.write_text(text, encoding="utf-8")
        import_release(system, [path], name=release, effective_from=start, directory=directory)
    return CodeSystems.open(directory.code_systems)


@pytest.fixture(scope="session")
def necessity() -> MedicalNecessity:
    return MedicalNecessity.model_validate(
        {
            "coverage": [
                {
                    "procedure": "cpt:93880",
                    "diagnoses": "I63, I65-I66, G45, R09.89",
                    "payer": "medicare",
                    "source": "Synthetic coverage 1",
                },
                {
                    "procedure": "cpt:82306",
                    "diagnoses": "E55, M81, N25.81, N18.3-N18.6",
                    "source": "Synthetic coverage 2",
                },
                {
                    "procedure": "cpt:77080",
                    "diagnoses": "M80-M81",
                    "source": "Synthetic coverage 3",
                    "effective_from": "2026-07-01",
                },
            ]
        }
    )
