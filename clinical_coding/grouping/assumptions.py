"""What grouping takes where the encounter does not say, and remarks on it where that bears on the DRG.

Sex, discharge status and hospital-acquired conditions are settled here. Records often lack them, and a DRG that
rests on a guess must say so. It knows nothing of releases and weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from clinical_coding.grouping.grouper import (
    DIED,
    HACS_AFTER_OPERATIONS,
    HACS_AFTER_PROCEDURES,
    LEFT_AGAINST_ADVICE,
    UNGROUPABLE,
    Grouper,
    Sex,
    Stay,
    dotted,
)

__all__ = [
    "HOME",
    "condition_remarks",
    "count_conditions",
    "settle_sex",
    "unknown_status_remarks",
    "unsupported_remarks",
]

HOME: Final = "01"
"""Discharge status of a patient who went home: taken where none is known."""

_NEWBORNS: Final = "15"
_WORDS: Final[dict[Sex, str]] = {"F": "female", "M": "male"}
_FATES: Final = ((DIED, "who died"), (LEFT_AGAINST_ADVICE, "who left against medical advice"))


def settle_sex(grouper: Grouper, stay: Stay, *, sex: Literal["F", "M", "X"] | None) -> tuple[Stay, str | None]:
    """Set the sex of a stay.

    Args:
        grouper: The version that groups.
        stay: The stay; its own sex is not looked at.
        sex: As the encounter has it. The grouper knows only two.

    Returns:
        The stay, and a remark where the sex is not one of the two and the DRG depends on it. Then the sex for which
        the stay can be grouped is taken, the female first.
    """
    if sex == "F" or sex == "M":
        return replace(stay, sex=sex), None
    female, male = replace(stay, sex="F"), replace(stay, sex="M")
    drgs: dict[Sex, str] = {"F": grouper.assign(female), "M": grouper.assign(male)}
    if drgs["F"] == drgs["M"]:
        return female, None
    taken, other = (male, female) if drgs["F"] == UNGROUPABLE else (female, male)
    known = "not known" if sex is None else f"given as {sex}"
    return taken, (
        f"the sex is {known}: grouped as for a {_WORDS[taken.sex]} patient; "
        f"for a {_WORDS[other.sex]} patient the DRG would be {drgs[other.sex]}"
    )


def count_conditions(
    grouper: Grouper, *, present_on_admission: Mapping[str, str], procedures: Sequence[str]
) -> dict[str, str]:
    """Take as present those conditions that cannot be hospital-acquired ones, for want of a procedure.

    Args:
        grouper: The version that groups.
        present_on_admission: Indicator by diagnosis.
        procedures: Of the stay.

    Returns:
        The indicators to group by.
    """
    has_operation = any(grouper.is_operation(procedure) for procedure in procedures)

    def can_hold(category: str | None) -> bool:
        if category in HACS_AFTER_OPERATIONS:
            return has_operation
        return category not in HACS_AFTER_PROCEDURES or bool(procedures)

    return {
        diagnosis: indicator
        for diagnosis, indicator in present_on_admission.items()
        if can_hold(grouper.hospital_acquired_condition(diagnosis))
    }


def condition_remarks(grouper: Grouper, stay: Stay, *, drg: str) -> tuple[str, ...]:
    """Say where the DRG rests on a hospital-acquired condition that holds only after certain procedures."""
    remarks = []
    for diagnosis in stay.present_on_admission:
        category = grouper.hospital_acquired_condition(diagnosis)
        if category not in HACS_AFTER_OPERATIONS | HACS_AFTER_PROCEDURES:
            continue
        others = {code: value for code, value in stay.present_on_admission.items() if code != diagnosis}
        counted = grouper.assign(replace(stay, present_on_admission=others))
        if counted != drg:
            remarks.append(
                f"{dotted(diagnosis)} is taken not to count, as hospital-acquired condition {category}, which holds "
                "only after certain procedures (Definitions Manual, Appendix I); "
                f"if none of them is coded, the DRG is {counted}"
            )
    return tuple(remarks)


def unknown_status_remarks(grouper: Grouper, stay: Stay, *, drg: str) -> tuple[str, ...]:
    """Say where the DRG would be another, had the patient not simply gone home."""
    drgs = [(who, grouper.assign(replace(stay, discharge_status=status))) for status, who in _FATES]
    return tuple(
        f"the discharge status is not known: grouped as gone home; for a patient {who} the DRG would be {other}"
        for who, other in drgs
        if other != drg
    )


def unsupported_remarks(grouper: Grouper, stay: Stay, *, drg: str) -> tuple[str, ...]:
    """Say where the stay may be beyond the grouper."""
    remarks = []
    if drg == UNGROUPABLE:
        remarks.append(
            f"{grouper.version} has no rule that starts from this principal diagnosis in a {_WORDS[stay.sex]} patient; "
            "check code, date and sex"
        )
    if grouper.mdc(drg) == _NEWBORNS:
        remarks.append("neonates who died or were transferred belong to DRG 789, which this grouper does not give")
    if grouper.lies_in_hiv_category_too(stay):
        remarks.append(
            "HIV beside a principal diagnosis related to it belongs to major diagnostic category 25 (DRGs 969 to 977), "
            "which this grouper reaches only from HIV as principal diagnosis"
        )
    return tuple(remarks)
