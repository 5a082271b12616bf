"""Rules on who the patient is: sex, age, and whose record it is, the mother's or the newborn's.

An unknown sex or age, or a sex of X, sets nothing off. Source: Medicare Code Editor; Official Guidelines I.C.15,
I.C.16.
"""

from collections.abc import Iterator

from clinical_coding.edits.case import Case
from clinical_coding.edits.rules import Hit

__all__ = ["age_conflicts", "mixed_records", "sex_conflicts"]


def sex_conflicts(case: Case) -> Iterator[Hit]:
    """Codes of the other sex."""
    sex = case.encounter.sex
    if sex not in ("F", "M"):
        return
    for diagnosis in case.diagnoses:
        group = diagnosis.facts.sex
        if group is not None and group.sex != sex:
            yield Hit(
                (diagnosis.key,),
                f"The patient's sex is {sex}, and {diagnosis.facts.code} is a code of the other: {group.because}.",
                group.source,
                "See that the code, and the sex in the registration, are right.",
            )


def age_conflicts(case: Case) -> Iterator[Hit]:
    """Codes of another age."""
    age = case.encounter.age
    if age is None:
        return
    for diagnosis in case.diagnoses:
        for group in diagnosis.facts.ages:
            if not group.first <= age <= group.last:
                yield Hit(
                    (diagnosis.key,),
                    f"The patient is {age} years old, and {diagnosis.facts.code} is of other ages: {group.because}.",
                    group.source,
                    "See that the code, and the date of birth in the registration, are right.",
                )


def mixed_records(case: Case) -> Iterator[Hit]:
    """Codes of the mother beside codes of the newborn."""
    mother = next((one for one in case.diagnoses if one.facts.code[0] == "O" or one.facts.code[:3] == "Z37"), None)
    newborn = next((one for one in case.diagnoses if one.facts.code[0] == "P" or one.facts.code[:3] == "Z38"), None)
    if mother is not None and newborn is not None:
        yield Hit(
            (mother.key, newborn.key),
            f"{mother.facts.code} belongs on the mother's record and {newborn.facts.code} on the newborn's; no record "
            "has both.",
            "Official Guidelines I.C.15.a.2, I.C.16.a.1",
            "Split the encounter into the mother's and the newborn's.",
        )
