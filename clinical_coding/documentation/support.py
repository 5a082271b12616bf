"""Whether the documentation supports a code, by what it asserts and by setting.

A code stands when one of its evidence spans supports it; without spans nothing is known, and it stands. It judges
words: whether a diagnosis is clinically right is nobody's business here. Source: ICD-10-CM Official Guidelines for
Coding and Reporting, fiscal year 2026, in the sections that each rule names.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clinical_coding.codes import CodeSystem, EvidenceSpan, split_key
from clinical_coding.documentation.assertions import Assertion
from clinical_coding.documentation.reading import ReadNote
from clinical_coding.documentation.sections import SectionKind
from clinical_coding.documentation.support_rules import RULES, SupportRule
from clinical_coding.findings import Finding, Severity
from clinical_coding.records import Setting

__all__ = ["Support", "finding_of", "support"]

_NEVER_ON_UNCERTAINTY: Final = ("B20", "Z21", "A92.5", "U07.1", "J09", "J10")
"""HIV, Zika, COVID-19, novel and other identified influenza: confirmed cases only, in every setting."""
_OF_SUSPICION: Final = ("Z03", "Z05", "Z20", "T76", "O35", "O36", "H40.0")
"""Codes whose meaning is a suspicion: observation for, contact with, suspected abuse, glaucoma suspect."""
_OF_ABSENCE: Final = (
    "N91", "R34", "R43", "R63.0", "Z00", "Z01", "Z02", "Z03", "Z04", "Z05", "Z08", "Z09", "Z28", "Z53", "Z55", "Z56",
    "Z59", "Z66", "Z72.3", "Z74", "Z75", "Z91.1", "Z91.A",
)  # fmt: skip
"""Codes whose meaning is that something is not: no menses, no appetite, not immunised, no job, what was suspected and
ruled out (I.C.21.c.6), an examination without findings, no sign of the cancer that was treated."""
_SIGNS: Final = "R"
_NO_SIGNS: Final = ("R56", "R57", "R65")
"""Convulsions, shock and sepsis: diagnoses by any other name, though they stand in the chapter of signs."""
_REMISSION: Final = re.compile(r"F1\d\.[12]1\w?|F31\.7\d|F32\.[45]|F33\.4\w?|C9\d\.\w1")
"""What is in remission: the index sends a history of dependence there."""
_OF_RELATIVES: Final = (
    "Z80",
    "Z81",
    "Z82",
    "Z83",
    "Z84",
    "Z20",
    "Z62",
    "Z63",
    "Z77",
    "P00",
    "P01",
    "P02",
    "P03",
    "P04",
)
"""Codes that a relative's condition supports: family history and circumstances, exposure at home, newborns affected by
the mother."""
_OF_THE_PAST: Final = ("Z", "I25.2", "I69", "B90", "B91", "B92", "B94", "O09", "O34.2", "E64", "E68", "G09", "T88.5")
"""Codes whose meaning is a past: history and status codes, old infarction, sequelae."""
_PERSISTENT: Final = (
    "B18", "B20", "Z21", "D56", "D57", "D66", "D67", "D68.0", "D68.5", "D80", "D81", "D82", "D83", "D84", "D86", "E03",
    "E08", "E09", "E10", "E11", "E13", "E23", "E27.1", "E66", "E7", "E83.1", "E84", "E85", "E88.01", "E89.0", "F01",
    "F02", "F03", "F20", "F25", "F31", "F60", "F7", "F84", "F90", "G10", "G12", "G20", "G25.0", "G25.81", "G30", "G35",
    "G40", "G43", "G47.3", "G47.4", "G60", "G70", "G71", "G80", "G82", "H35.3", "H40", "H90", "I05", "I06", "I07",
    "I08", "I10", "I11", "I12", "I13", "I15", "I1A", "I25", "I27", "I34", "I35", "I42", "I48", "I50", "I70", "I73.9",
    "I87.2", "I89.0", "J41", "J42", "J43", "J44", "J45", "J47", "J84", "J96.1", "K21", "K22.7", "K50", "K51", "K58",
    "K70.3", "K74", "K76.0", "K86.0", "K86.1", "K90.0", "L40", "L93", "M05", "M06", "M10", "M1A", "M15", "M16", "M17",
    "M18", "M19", "M32", "M33", "M34", "M35.0", "M45", "M47", "M48.0", "M79.7", "M81", "N18", "N40", "Q",
)  # fmt: skip
"""Conditions that do not end: a "history of" them is how long they have been there. After the systemic diseases that
Coding Clinic (third quarter 2007, page 13) has coded whenever they are documented."""
_HYPOTHETICAL_SUPPORTS: Final = ("Z",)
"""Screening, immunisation, prophylaxis, counselling and risk have codes in this chapter."""
_LATER_ENCOUNTER = re.compile(r"[ST]\w\w\.\w{3}[DEFGHJKMNPQRS]")
"""Injuries under subsequent care, and sequelae: their evidence speaks of the past."""
_VISIT = re.compile(r"99[2-4]\d\d")
"""Evaluation and management: its evidence speaks of time and decisions, in which "no" and "risk" mean nothing."""
_BROKEN_OF_SERVICES: Final = {
    Assertion.NEGATED: "negated",
    Assertion.FAMILY: "family-history",
    Assertion.HISTORICAL: "historical",
}

_NOT_AT_DISCHARGE: Final = frozenset(
    {
        SectionKind.CHIEF_COMPLAINT,
        SectionKind.PRESENT_ILLNESS,
        SectionKind.REVIEW_OF_SYSTEMS,
        SectionKind.RESULTS,
        SectionKind.EMERGENCY_COURSE,
        SectionKind.ADMISSION_DIAGNOSIS,
    }
)
"""Sections even of a discharge summary that tell of earlier, or in another's words."""
_CONCLUSIONS: Final = frozenset({SectionKind.ASSESSMENT, SectionKind.PLAN, SectionKind.FINAL_DIAGNOSIS})
_ADMISSION_TYPES: Final = ("admission", "history-and-physical", "h&p", "emergency", "ed-note", "triage")
_TITLE = re.compile(r"\s*[^\n]*\bdischarge\s+(?:summary|note)\b", re.IGNORECASE)

_TOLD_FIRST: Final = (
    "uncertain-never-coded",
    "uncertain-outpatient",
    "uncertain-not-at-discharge",
    "historical",
    "negated",
    "family-history",
    "hypothetical",
)
"""Of several reasons the one that says most about what to do."""


@dataclass(frozen=True, slots=True)
class Support:
    """Whether the documentation supports a code."""

    stands: bool
    rule: str | None
    """Why not; none where the code stands."""
    source: str | None
    """What the rule rests on."""
    assertions: tuple[Assertion, ...]
    """Of each span, in their order."""


def support(key: str, spans: Sequence[EvidenceSpan], notes: Mapping[str, ReadNote], *, setting: Setting) -> Support:
    """Judge whether the documentation supports a code.

    Args:
        key: Label key, such as ``icd10cm:J18.9``.
        spans: Where the notes speak of it.
        notes: By note id, in the order of the encounter.
        setting: Where care was given.

    Raises:
        ValueError: The key names no code system, or a span names a note that is not given or lies outside it.

    Source:
        Official Guidelines I.A.19, I.C.1.a.1, I.C.1.f, I.C.1.g.1.a, I.C.10.c, I.C.21.c.4, I.C.21.c.6, II.H, III.A,
        III.C, IV.H and IV.J.
    """
    system, code = split_key(key)
    last_note_id = next(reversed(list(notes)), None)
    assertions, broken = [], set()
    for span in spans:
        note = _note_of(span, notes)
        assertion = note.assertion(span.start, span.end)
        assertions.append(assertion)
        if system is CodeSystem.ICD10CM:
            is_final = _is_at_discharge(note, span.start, is_last=span.note_id == last_note_id)
            broken.add(_broken_rule(code, assertion, setting=setting, is_at_discharge=is_final))
        else:
            broken.add(_broken_rule_of_service(code, assertion))
    if not spans or None in broken:
        return Support(stands=True, rule=None, source=None, assertions=tuple(assertions))
    name = next(name for name in _TOLD_FIRST if name in broken)
    return Support(stands=False, rule=name, source=RULES[name].source_of(setting), assertions=tuple(assertions))


def _note_of(span: EvidenceSpan, notes: Mapping[str, ReadNote]) -> ReadNote:
    try:
        return notes[span.note_id]
    except KeyError:
        raise ValueError(
            f"evidence names note_id {span.note_id!r}, which is not among the notes read; "
            "give every note of the encounter"
        ) from None


def _is_at_discharge(note: ReadNote, position: int, *, is_last: bool) -> bool:
    """Tell whether a mention stands where the record concludes: what is uncertain there is so at discharge."""
    kind = note.section_at(position).kind
    if kind in _NOT_AT_DISCHARGE:
        return False
    note_type = re.sub(r"[\s_]+", "-", note.note.type.lower())
    if "discharge" in note_type or _TITLE.match(note.note.text) or kind is SectionKind.FINAL_DIAGNOSIS:
        return True
    return is_last and kind in _CONCLUSIONS and not note_type.startswith(_ADMISSION_TYPES)


def _broken_rule(code: str, assertion: Assertion, *, setting: Setting, is_at_discharge: bool) -> str | None:
    """Name the rule by which a mention does not support a diagnosis; none when it does."""
    match assertion:
        case Assertion.AFFIRMED:
            return None
        case Assertion.UNCERTAIN:
            return _broken_by_uncertainty(code, setting=setting, is_at_discharge=is_at_discharge)
        case Assertion.NEGATED:
            return None if code.startswith(_OF_ABSENCE) else "negated"
        case Assertion.FAMILY:
            return None if code.startswith(_OF_RELATIVES) else "family-history"
        case Assertion.HYPOTHETICAL:
            return None if code.startswith(_HYPOTHETICAL_SUPPORTS) else "hypothetical"
        case Assertion.HISTORICAL:
            lasts = code.startswith((*_OF_THE_PAST, *_PERSISTENT))
            return None if lasts or _LATER_ENCOUNTER.fullmatch(code) or _REMISSION.fullmatch(code) else "historical"


def _broken_by_uncertainty(code: str, *, setting: Setting, is_at_discharge: bool) -> str | None:
    if code.startswith(_NEVER_ON_UNCERTAINTY):
        return "uncertain-never-coded"
    if code.startswith(_OF_SUSPICION):
        return None
    # "Evaluated for chest pain": a sign is what the rule says to code instead.
    if code.startswith(_SIGNS) and not code.startswith(_NO_SIGNS):
        return None
    if setting is not Setting.INPATIENT:
        return "uncertain-outpatient"
    return None if is_at_discharge else "uncertain-not-at-discharge"


def _broken_rule_of_service(code: str, assertion: Assertion) -> str | None:
    """The same of a procedure or supply: not done, or not now, or to another; doubt and risk say nothing of it."""
    return None if _VISIT.fullmatch(code) else _BROKEN_OF_SERVICES.get(assertion)


def finding_of(key: str, judged: Support, spans: Sequence[EvidenceSpan]) -> Finding:
    """Say as a finding why the documentation does not support a code.

    Args:
        key: Label key.
        judged: What ``support`` gave for it; the code does not stand.
        spans: Where the notes speak of it.

    Raises:
        ValueError: The code stands, so that there is nothing to find.
    """
    if judged.rule is None or judged.source is None:
        raise ValueError(f"code {key} is supported; make findings only of codes that do not stand")
    rule: SupportRule = RULES[judged.rule]
    return Finding(
        rule=judged.rule,
        severity=Severity.WARNING,
        codes=(key,),
        explanation=rule.explanation,
        source=judged.source,
        fix=rule.fix,
        evidence=tuple(spans),
    )
