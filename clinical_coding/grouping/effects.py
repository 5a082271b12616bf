"""What each code does to the DRG: the stay is grouped again without it, and the version's tables are asked.

Coders read the sentences made here. Nothing is known of records or releases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from clinical_coding.codes import Code
from clinical_coding.grouping.grouper import Grouper, Stay, dotted
from clinical_coding.grouping.groupings import CodeEffect, CodeRole, ComplicationLevel, NotCounted

__all__ = ["drg_without_complications", "effects_of", "undotted"]

_RANKS: Final = {ComplicationLevel.NONE: 0, ComplicationLevel.CC: 1, ComplicationLevel.MCC: 2}
_LEVELS: Final = {ComplicationLevel.CC: "CC", ComplicationLevel.MCC: "MCC"}


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A secondary diagnosis with its place in the tables."""

    code: Code
    level: ComplicationLevel
    not_counted: NotCounted | None

    @property
    def counts(self) -> bool:
        return self.level is not ComplicationLevel.NONE and self.not_counted is None


def undotted(code: Code) -> str:
    """Write a code as the grouper does."""
    return code.code.replace(".", "")


def effects_of(
    grouper: Grouper,
    stay: Stay,
    *,
    drg: str,
    uncomplicated: str,
    principal: Code,
    secondaries: Sequence[Code],
    procedures: Sequence[Code],
) -> tuple[CodeEffect, ...]:
    """Say what each code of a stay does to its DRG.

    Args:
        grouper: The version that grouped.
        stay: What it was given.
        drg: What it gave.
        uncomplicated: What it gives without the secondary diagnoses that count as CC or MCC.
        principal: The principal diagnosis.
        secondaries: The other diagnoses of the stay, each once.
        procedures: The ICD-10-PCS procedures of the stay, each once.

    Returns:
        One effect for each code, in the order of the arguments.
    """
    ranked = [_rank(grouper, stay, code=code, drg=drg) for code in secondaries]
    carriers = [] if drg == uncomplicated else [item for item in ranked if item.counts]
    return (
        _principal_effect(grouper, principal, drg=drg),
        *(_secondary_effect(item, grouper, stay, drg=drg, carriers=carriers) for item in ranked),
        *(_procedure_effect(code, grouper, stay, drg=drg) for code in procedures),
    )


def drg_without_complications(grouper: Grouper, stay: Stay, *, drg: str) -> str:
    """Group a stay without the secondary diagnoses that count as CC or MCC."""
    left = tuple(
        code
        for code in stay.secondaries
        if grouper.level(code) is ComplicationLevel.NONE or grouper.not_counted(code, stay, drg=drg)
    )
    return grouper.assign(replace(stay, secondaries=left))


def _rank(grouper: Grouper, stay: Stay, *, code: Code, drg: str) -> _Ranked:
    diagnosis = undotted(code)
    return _Ranked(code, grouper.level(diagnosis), grouper.not_counted(diagnosis, stay, drg=drg))


def _principal_effect(grouper: Grouper, code: Code, *, drg: str) -> CodeEffect:
    mdc, kind = grouper.mdc(drg), grouper.kind(drg)
    if kind is None:
        explanation = f"principal diagnosis: DRG {drg}, {grouper.title(drg).lower()}"
    elif mdc is None:
        explanation = f"principal diagnosis; {kind} DRG {drg} lies outside of the major diagnostic categories"
    else:
        explanation = f"principal diagnosis; {kind} DRG {drg} of major diagnostic category {mdc}"
    return CodeEffect(
        key=code.key,
        role=CodeRole.PRINCIPAL,
        level=ComplicationLevel.NONE,
        not_counted=None,
        drg_without=None,
        explanation=explanation,
    )


def _secondary_effect(
    item: _Ranked, grouper: Grouper, stay: Stay, *, drg: str, carriers: Sequence[_Ranked]
) -> CodeEffect:
    diagnosis = undotted(item.code)
    without = grouper.assign(replace(stay, secondaries=tuple(code for code in stay.secondaries if code != diagnosis)))
    moved_to = None if without == drg else without
    movement = _movement(item, drg=drg, moved_to=moved_to, carriers=carriers)
    return CodeEffect(
        key=item.code.key,
        role=CodeRole.SECONDARY,
        level=item.level,
        not_counted=item.not_counted,
        drg_without=moved_to,
        explanation=f"{_standing(item, stay, drg=drg)}; {movement}",
    )


def _procedure_effect(code: Code, grouper: Grouper, stay: Stay, *, drg: str) -> CodeEffect:
    left = tuple(procedure for procedure in stay.procedures if procedure != undotted(code))
    without = grouper.assign(replace(stay, procedures=left))
    moved_to = None if without == drg else without
    movement = f"the DRG is {drg} without it too" if moved_to is None else _moved(drg, moved_to)
    return CodeEffect(
        key=code.key,
        role=CodeRole.PROCEDURE,
        level=ComplicationLevel.NONE,
        not_counted=None,
        drg_without=moved_to,
        explanation=f"procedure; {movement}",
    )


def _standing(item: _Ranked, stay: Stay, *, drg: str) -> str:
    if item.level is ComplicationLevel.NONE:
        return "neither CC nor MCC"
    level = _LEVELS[item.level]
    match item.not_counted:
        case None:
            return level
        case NotCounted.EXCLUDED_BY_PRINCIPAL:
            return f"{level}, but it does not count beside the principal diagnosis {dotted(stay.principal)}"
        case NotCounted.EXCLUDED_BY_DRG:
            return f"{level}, but it does not count in DRG {drg}, which stands for the condition"
        case NotCounted.DIED:
            return f"{level}, but it counts only for a patient who left alive"
        case NotCounted.HOSPITAL_ACQUIRED:
            return f"{level}, but it does not count: hospital-acquired, not present on admission"


def _movement(item: _Ranked, *, drg: str, moved_to: str | None, carriers: Sequence[_Ranked]) -> str:
    if moved_to is not None:
        return _moved(drg, moved_to)
    peers = [
        other.code.code
        for other in carriers
        if item.counts and other is not item and _RANKS[other.level] >= _RANKS[item.level]
    ]
    if peers:
        return f"the DRG is {drg} without it too, since {' and '.join(peers[:2])} {_carry(peers)}"
    return f"the DRG is {drg} without it too"


def _carry(peers: Sequence[str]) -> str:
    if len(peers) > 2:
        return f"and {len(peers) - 2} more carry at least as much"
    return "carries at least as much" if len(peers) == 1 else "carry at least as much"


def _moved(drg: str, moved_to: str) -> str:
    return f"without it the DRG would be {moved_to} instead of {drg}"
