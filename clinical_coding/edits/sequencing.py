"""Rules of sequence: what may stand first, what may only stand first.

They apply only where every diagnosis has its place. Source: Official Guidelines I.C.20, I.C.21, II; Medicare
Code Editor.
"""

from collections.abc import Iterator

from clinical_coding.edits.case import Case
from clinical_coding.edits.conventions import LaterGroup
from clinical_coding.edits.rules import Hit
from clinical_coding.records import Setting

__all__ = [
    "external_causes_first",
    "first_only_codes_after",
    "repeated_places",
    "secondary_only_codes_first",
    "statuses_first",
]


def external_causes_first(case: Case) -> Iterator[Hit]:
    """An external cause in the first place."""
    first = case.first
    if first is not None and first.facts.is_external_cause:
        yield Hit(
            (first.key,),
            f"{first.facts.code} tells how an injury came about, and never stands first.",
            "Official Guidelines I.C.20.a.6; Medicare Code Editor, external cause as principal diagnosis",
            "Sequence the injury or condition first.",
        )


def secondary_only_codes_first(case: Case) -> Iterator[Hit]:
    """A code in the first place that may only be secondary."""
    first = case.first
    if first is not None and (group := first.facts.secondary_only) and _is_returned(case, group):
        yield Hit(
            (first.key,),
            f"{first.facts.code} may not stand first: {group.because}.",
            f"{group.source}; Medicare Code Editor, unacceptable principal diagnosis",
            "Sequence the reason for the encounter first.",
        )


def statuses_first(case: Case) -> Iterator[Hit]:
    """A status or history in the first place."""
    first = case.first
    if first is None:
        return
    later = first.facts.secondary_only
    group = first.facts.status if later is None else None if _is_returned(case, later) else later
    if group is not None:
        yield Hit(
            (first.key,),
            f"{first.facts.code} stands first: {group.because}.",
            group.source,
            "Sequence the reason for the encounter first.",
        )


def _is_returned(case: Case, group: LaterGroup) -> bool:
    return not group.inpatient or case.encounter.setting is Setting.INPATIENT


def first_only_codes_after(case: Case) -> Iterator[Hit]:
    """A code in a later place that may only be first."""
    if case.first is None:
        return
    for diagnosis in case.diagnoses[1:]:
        group = diagnosis.facts.first_only
        # Two reasons that each must be first cannot both be: the first of them is right.
        if group is not None and case.first.facts.first_only is None:
            yield Hit(
                (diagnosis.key,),
                f"{diagnosis.facts.code} stands after {case.first.facts.code}: {group.because}, unless several "
                "encounters of one day are combined.",
                group.source,
                f"Sequence {diagnosis.facts.code} first, or leave it out.",
            )


def repeated_places(case: Case) -> Iterator[Hit]:
    """Two diagnoses in one place."""
    if not case.is_sequenced:
        return
    places: dict[int | None, str] = {}
    for diagnosis in case.diagnoses:
        taken = places.setdefault(diagnosis.code.sequence, diagnosis.key)
        if taken != diagnosis.key:
            yield Hit(
                (taken, diagnosis.key),
                f"Two diagnoses have the place {diagnosis.code.sequence}.",
                "Official Guidelines II, IV.G",
                "Give every diagnosis its own place, the principal or first-listed one the first.",
            )
