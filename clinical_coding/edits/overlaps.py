"""Rules on codes that say the same thing twice, or that one combination code says together.

Source: Official Guidelines I.A.15, I.B.5, I.B.9, I.B.12 and I.B.18, and the titles of the tabular list.
"""

from collections.abc import Iterator
from itertools import permutations

from clinical_coding.codes import CodeSystem
from clinical_coding.edits.case import Case, Diagnosis, are_opposite
from clinical_coding.edits.conventions import conventions
from clinical_coding.edits.rules import Hit

__all__ = ["combination_codes_due", "included_codes", "integral_symptoms", "repeated_codes"]


def repeated_codes(case: Case) -> Iterator[Hit]:
    """The same code twice."""
    seen = set()
    told = set()
    for code in case.codes:
        is_diagnosis = code.system is CodeSystem.ICD10CM
        mark = (code.key, () if is_diagnosis else code.modifiers)
        if mark in seen and mark not in told:
            told.add(mark)
            yield Hit(
                (code.key,),
                f"{code.code} is reported more than once" + ("." if is_diagnosis else " with the same modifiers."),
                "Official Guidelines I.B.12" if is_diagnosis else "NCCI Policy Manual, chapter I",
                "Report it once." if is_diagnosis else "Report it once with units, or tell the two apart by modifiers.",
            )
        seen.add(mark)


def included_codes(case: Case) -> Iterator[Hit]:
    """A code that another one includes or contradicts."""
    for part, whole in permutations(case.diagnoses, 2):
        source = _inclusion(part, whole)
        if source is not None:
            yield Hit(
                (part.key, whole.key),
                f"{whole.facts.code} ({whole.facts.title}) leaves no room for {part.facts.code} ({part.facts.title}).",
                source,
                f"Leave {part.facts.code} out.",
            )


def combination_codes_due(case: Case) -> Iterator[Hit]:
    """Two codes for what one combination code says."""
    for one, other in permutations(case.diagnoses, 2):
        for place in one.facts.combined & other.facts.combines:
            entry = conventions().combined[place]
            yield Hit(
                (one.key, other.key),
                f"Beside {other.facts.code}, {one.facts.code} gives way to a code that says both.",
                entry.source,
                f"Use {entry.use}.",
            )


def integral_symptoms(case: Case) -> Iterator[Hit]:
    """A sign or symptom beside a disease of which it is routinely part."""
    for symptom, disease in permutations(case.diagnoses, 2):
        for place in symptom.facts.integral & disease.facts.has_integral:
            if are_opposite(symptom, disease):
                continue
            yield Hit(
                (symptom.key, disease.key),
                f"{symptom.facts.code} ({symptom.facts.title}) is routinely part of {disease.facts.code} "
                f"({disease.facts.title}).",
                conventions().integral[place].source,
                f"Leave {symptom.facts.code} out, unless the note says that it has another cause.",
            )


def _inclusion(part: Diagnosis, whole: Diagnosis) -> str | None:
    """The section by which one code leaves no room for another; null where both may stand."""
    places = part.facts.included & whole.facts.includes
    if places:
        return conventions().included[min(places)].source
    stem = part.facts.without
    if stem is None or part.facts.code[:3] != whole.facts.code[:3]:
        return None
    # "Type 2 diabetes mellitus without complications" beside "Type 2 diabetes mellitus with ...".
    if not whole.facts.title.lower().startswith(f"{stem} with "):
        return None
    return "Tabular list, titles; Official Guidelines I.A.15, I.B.9"
