"""Rules on the present-on-admission indicator, of inpatient encounters whose codes are in sequence.

Source: Official Guidelines, Appendix I; 42 U.S.C. 1395ww(d)(4)(D).
"""

from collections.abc import Iterator

from clinical_coding.edits.case import Case, Diagnosis
from clinical_coding.edits.rules import Hit
from clinical_coding.records import Setting

__all__ = ["misplaced_exemptions", "missing_indicators"]

_EXEMPT = "1"


def missing_indicators(case: Case) -> Iterator[Hit]:
    """Diagnoses without an indicator that need one, in one finding."""
    missing = [one for one in _judged(case) if one.code.present_on_admission is None]
    if missing:
        yield Hit(
            tuple(one.key for one in missing),
            f"{_list(missing)} without the present-on-admission indicator.",
            "Official Guidelines, Appendix I",
            "Report Y, N, U or W from the documentation.",
        )


def misplaced_exemptions(case: Case) -> Iterator[Hit]:
    """Diagnoses marked exempt that are not, in one finding."""
    marked = [one for one in _judged(case) if one.code.present_on_admission == _EXEMPT]
    if marked:
        yield Hit(
            tuple(one.key for one in marked),
            f"{_list(marked)} marked exempt from the present-on-admission indicator, and not exempt.",
            "Official Guidelines, Appendix I",
            "Report Y, N, U or W from the documentation.",
        )


def _judged(case: Case) -> list[Diagnosis]:
    """Diagnoses that need an indicator."""
    if case.encounter.setting is not Setting.INPATIENT or not case.is_sequenced:
        return []
    return [diagnosis for diagnosis in case.diagnoses if not diagnosis.facts.is_exempt]


def _list(diagnoses: list[Diagnosis]) -> str:
    return f"{', '.join(one.facts.code for one in diagnoses)} {'is' if len(diagnoses) == 1 else 'are'}"
