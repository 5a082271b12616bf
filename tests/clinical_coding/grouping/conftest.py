from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.grouping import Grouping, group
from clinical_coding.records import Encounter


def coded(diagnoses: str, procedures: str = "", *, present: dict[str, Any] | None = None) -> tuple[Code, ...]:
    present = present or {}
    return (
        *(
            Code(system=CodeSystem.ICD10CM, code=code, sequence=place, present_on_admission=present.get(code))
            for place, code in enumerate(diagnoses.split(), start=1)
        ),
        *(Code(system=CodeSystem.ICD10PCS, code=code) for code in procedures.split()),
    )


def inpatient(**changes: Any) -> Encounter:
    fields = {"setting": "inpatient", "specialty": "medicine", "service_end": date(2026, 5, 4), "sex": "F"}
    return Encounter.model_validate(fields | changes)


@pytest.fixture(scope="session")
def make_codes() -> Callable[..., tuple[Code, ...]]:
    """Codes in order of sequence: diagnoses, then procedures, each a string of numbers."""
    return coded


@pytest.fixture(scope="session")
def make_stay() -> Callable[..., Encounter]:
    """An inpatient encounter of a woman discharged in May 2026, some of its fields replaced."""
    return inpatient


@pytest.fixture(scope="session")
def group_stay() -> Callable[..., Grouping]:
    """Groups diagnoses and procedures, as of an encounter; what is neither goes to ``group``."""

    def run(diagnoses: str, procedures: str = "", *, present: Any = None, stay: Any = None, **told: Any) -> Grouping:
        codes = coded(diagnoses, procedures, present=present)
        grouping = group(inpatient(**(stay or {})), codes, systems=CodeSystems.embedded(), **told)
        assert grouping is not None
        return grouping

    return run
