"""Rules on procedures: systems by setting, pairs, units, and what supports them.

Pairs and units are judged where their tables are held; support, where the organisation gives a table. Source:
45 CFR 162.1002; National Correct Coding Initiative (PTP and MUE tables, Policy Manual chapter I).
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Final

from clinical_coding.codes import CodeSystem
from clinical_coding.edits.case import Case
from clinical_coding.edits.rules import Hit
from clinical_coding.records import Setting

__all__ = ["exceeded_units", "inpatient_codes_elsewhere", "pair_conflicts", "unsupported_procedures"]

PAIR_MODIFIERS: Final = frozenset(
    "24 25 27 57 58 59 78 79 91 XE XP XS XU E1 E2 E3 E4 FA F1 F2 F3 F4 F5 F6 F7 F8 F9 TA T1 T2 T3 T4 T5 T6 T7 T8 T9 "
    "LT RT LC LD LM RC RI".split()
)
"""Modifiers that tell two services apart (NCCI Policy Manual, chapter I, section E)."""

_BY_LINE: Final = 1
"""Adjudication indicator of a limit that holds for each line of a claim; the others hold for the day."""
_NATIONAL: Final = (CodeSystem.CPT, CodeSystem.HCPCS)


def inpatient_codes_elsewhere(case: Case) -> Iterator[Hit]:
    """ICD-10-PCS codes outside hospital inpatient care."""
    if case.encounter.setting is Setting.INPATIENT:
        return
    for code in case.procedures:
        if code.system is CodeSystem.ICD10PCS:
            yield Hit(
                (code.key,),
                f"ICD-10-PCS is for hospital inpatient procedures; the setting is {case.encounter.setting}.",
                "45 CFR 162.1002(c)(3)",
                "Report the procedure in CPT or HCPCS.",
            )


def pair_conflicts(case: Case) -> Iterator[Hit]:
    """Two procedures that are not paid together."""
    edits = case.systems.pair_edits(case.on) if len(case.procedures) > 1 else None
    if edits is None:
        return
    national = [code for code in case.procedures if code.system in _NATIONAL]
    for one, other in combinations(national, 2):
        edit = edits.between(one.code, other.code) if one.code != other.code else None
        if edit is None or (edit.modifier_allowed and PAIR_MODIFIERS & {*one.modifiers, *other.modifiers}):
            continue
        first, second = (one, other) if one.code == edit.column1 else (other, one)
        yield Hit(
            (second.key, first.key),
            f"{second.code} is not paid beside {first.code}"
            + (" without a modifier that tells the two apart." if edit.modifier_allowed else ", with any modifier."),
            f"NCCI procedure-to-procedure edit {first.code}/{second.code}",
            f"Leave {second.code} out"
            + (
                ", or add 59, XE, XP, XS, XU or a modifier of site, if the note supports it."
                if edit.modifier_allowed
                else "."
            ),
        )


def exceeded_units(case: Case) -> Iterator[Hit]:
    """More units than are likely for one patient on one day."""
    limits = case.systems.unit_limits(case.on) if case.procedures else None
    if limits is None:
        return
    told = set()
    for code in case.procedures:
        limit = limits.get(code.code) if code.system in _NATIONAL and code.key not in told else None
        if limit is None:
            continue
        lines = [other.units for other in case.procedures if other.key == code.key]
        units = max(lines) if limit.indicator == _BY_LINE else sum(lines)
        if units > limit.units:
            told.add(code.key)
            yield Hit(
                (code.key,),
                f"{units} units of {code.code} are more than the {limit.units} that are likely "
                + ("on one line." if limit.indicator == _BY_LINE else "for one patient on one day."),
                "NCCI medically unlikely edits",
                "Correct the units, or keep documentation that supports them.",
            )


def unsupported_procedures(case: Case) -> Iterator[Hit]:
    """Procedures that none of the diagnoses supports in the eyes of the payer."""
    if case.necessity is None:
        return
    diagnoses = [one.facts.code for one in case.diagnoses]
    for code in case.procedures:
        rows = case.necessity.of(code.system, code.code, payer=case.encounter.payer, on=case.on)
        if rows and not any(row.diagnoses.holds(CodeSystem.ICD10CM, one) for row in rows for one in diagnoses):
            yield Hit(
                (code.key,),
                f"No diagnosis on the encounter supports {code.code} for this payer.",
                "; ".join(dict.fromkeys(row.source for row in rows)),
                f"See whether one of these is documented: {'; '.join(str(row.diagnoses) for row in rows)}.",
            )
