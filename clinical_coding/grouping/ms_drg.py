"""The MS-DRG of an inpatient stay, from its encounter and codes.

Callers hand in codes of any origin: final ones with sequence, or suggested ones with a principal diagnosis that they
propose. Notes are not read. Source: the CMS MS-DRG Definitions Manual of the version in force at discharge.
"""

import re
from collections.abc import Sequence

from clinical_coding.code_systems import CodeSystems, date_of_coding
from clinical_coding.codes import Code, CodeState, CodeSystem
from clinical_coding.grouping import assumptions
from clinical_coding.grouping.effects import drg_without_complications, effects_of, undotted
from clinical_coding.grouping.grouper import Grouper, Stay, load_grouper
from clinical_coding.grouping.groupings import Grouping
from clinical_coding.grouping.hcc import find_hccs
from clinical_coding.grouping.versions import choose_version
from clinical_coding.records import Encounter, Setting

__all__ = ["group"]


def group(
    encounter: Encounter,
    codes: Sequence[Code],
    *,
    systems: CodeSystems,
    principal: str | None = None,
    discharge_status: str | None = None,
) -> Grouping | None:
    """Group an inpatient stay and say what each code does to the DRG.

    Args:
        encounter: Its discharge date chooses the grouper's version.
        codes: The codes of the encounter; rejected ones (state negative) and CPT and HCPCS codes do not count.
        systems: Where relative weights come from.
        principal: Label key of the diagnosis to take as principal, one of the codes: a working DRG. Null takes the
            ICD-10-CM code with sequence 1.
        discharge_status: Two characters of UB-04 form locator 17, such as 01 (home) or 20 (died), where known.

    Returns:
        The grouping; null when the encounter is not inpatient, or has no principal diagnosis.

    Raises:
        ValueError: ``principal`` is none of the diagnoses, or ``discharge_status`` is malformed.
    """
    if discharge_status is not None and not re.fullmatch(r"\d\d", discharge_status):
        raise ValueError(
            f"discharge_status {discharge_status!r} must have two digits; give UB-04 form locator 17, such as 01 or 20"
        )
    diagnoses = _standing(codes, system=CodeSystem.ICD10CM)
    first = _principal(diagnoses, key=principal)
    if first is None or encounter.setting is not Setting.INPATIENT:
        return None
    secondaries = tuple(code for code in diagnoses if code.key != first.key)
    procedures = _standing(codes, system=CodeSystem.ICD10PCS)
    on = date_of_coding(encounter)
    choice = choose_version(on)
    grouper = load_grouper(choice.name)
    stay, remarks = _settle(
        grouper,
        encounter,
        first=first,
        secondaries=secondaries,
        procedures=procedures,
        discharge_status=discharge_status,
    )
    drg = grouper.assign(stay)
    uncomplicated = drg_without_complications(grouper, stay, drg=drg)
    # The weights of another year may be those of other groups under the same numbers.
    weights = systems.drg_weights(on) if choice.is_of_date else None
    return Grouping(
        drg=drg,
        description=grouper.title(drg),
        mdc=grouper.mdc(drg),
        kind=grouper.kind(drg),
        grouper_version=grouper.version,
        is_version_of_date=choice.is_of_date,
        principal=first.key,
        is_working=first.sequence != 1,
        relative_weight=None if weights is None else weights.get(drg),
        drg_without_complications=uncomplicated,
        effects=effects_of(
            grouper,
            stay,
            drg=drg,
            uncomplicated=uncomplicated,
            principal=first,
            secondaries=secondaries,
            procedures=procedures,
        ),
        hccs=find_hccs(encounter, codes),
        remarks=(*filter(None, [choice.remark]), *remarks),
    )


def _standing(codes: Sequence[Code], *, system: CodeSystem) -> tuple[Code, ...]:
    """The codes of a system that stand on the encounter, each once."""
    standing = {
        code.key: code for code in reversed(codes) if code.system is system and code.state is not CodeState.NEGATIVE
    }
    return tuple(reversed(standing.values()))


def _principal(diagnoses: Sequence[Code], *, key: str | None) -> Code | None:
    if key is None:
        return next((code for code in diagnoses if code.sequence == 1), None)
    for code in diagnoses:
        if code.key == key:
            return code
    raise ValueError(f"principal {key[:16]!r} is none of the encounter's diagnoses; give the label key of one of them")


def _settle(
    grouper: Grouper,
    encounter: Encounter,
    *,
    first: Code,
    secondaries: Sequence[Code],
    procedures: Sequence[Code],
    discharge_status: str | None,
) -> tuple[Stay, tuple[str, ...]]:
    """Make the stay that is grouped, with remarks on whatever had to be assumed."""
    pcs = tuple(undotted(code) for code in procedures)
    indicators = {undotted(code): code.present_on_admission for code in secondaries if code.present_on_admission}
    stay = Stay(
        principal=undotted(first),
        secondaries=tuple(undotted(code) for code in secondaries),
        procedures=pcs,
        sex="F",
        discharge_status=discharge_status or assumptions.HOME,
        present_on_admission=assumptions.count_conditions(grouper, present_on_admission=indicators, procedures=pcs),
    )
    stay, sex_remark = assumptions.settle_sex(grouper, stay, sex=encounter.sex)
    drg = grouper.assign(stay)
    remarks = [*filter(None, [sex_remark]), *assumptions.condition_remarks(grouper, stay, drg=drg)]
    if discharge_status is None:
        remarks += assumptions.unknown_status_remarks(grouper, stay, drg=drg)
    return stay, (*remarks, *assumptions.unsupported_remarks(grouper, stay, drg=drg))
