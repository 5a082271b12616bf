"""Rules that the tabular list's own notes make: Excludes, code first, use additional code, code also.

Every finding quotes the note and says where it is printed. Source: Official Guidelines I.A.12, I.A.13, I.A.17.
"""

from collections.abc import Iterator
from itertools import combinations

from clinical_coding.edits.case import Case, Diagnosis, are_opposite
from clinical_coding.edits.excluded_parts import excludes_part_only
from clinical_coding.edits.partners import Partner, is_partner
from clinical_coding.edits.rules import Hit
from clinical_coding.tabular.instructions import Instruction, InstructionKind

__all__ = [
    "advised_additional_codes",
    "excludes1_conflicts",
    "excludes1_parts",
    "excludes2_pairs",
    "manifestations_first",
    "missing_additional_codes",
    "missing_companions",
    "missing_underlying_codes",
    "underlying_codes_after",
]


def excludes1_conflicts(case: Case) -> Iterator[Hit]:
    """Two codes that an Excludes1 note forbids together."""
    for one, other, note in _excluded_pairs(case):
        if not excludes_part_only(case.library, one.facts.code, other.facts.code):
            yield Hit(
                (one.key, other.key),
                f'Excludes1 at {note.owner}: "{note.note}". {one.facts.code} and {other.facts.code} are not reported '
                "together, unless the two conditions are unrelated to each other.",
                f"Tabular list, Excludes1 at {note.owner}; Official Guidelines I.A.12.a",
                "Keep the code that the documentation supports. Where it says that the two are unrelated, a person may "
                "let both stand.",
            )


def excludes1_parts(case: Case) -> Iterator[Hit]:
    """Two codes where an Excludes1 note forbids only one of the conditions that the other code covers."""
    for one, other, note in _excluded_pairs(case):
        if excludes_part_only(case.library, one.facts.code, other.facts.code):
            yield Hit(
                (one.key, other.key),
                f'Excludes1 at {note.owner}: "{note.note}". That is one of several conditions of its code: '
                f"{one.facts.code} and {other.facts.code} conflict where it is the one that is meant.",
                f"Tabular list, Excludes1 at {note.owner}; Official Guidelines I.A.12.a",
                "Keep one code where the note's condition is documented; otherwise both may stand.",
            )


def _excluded_pairs(case: Case) -> Iterator[tuple[Diagnosis, Diagnosis, Instruction]]:
    for one, other in combinations(case.diagnoses, 2):
        note = case.library.excludes1(one.facts.code, other.facts.code)
        # Codes of opposite sides are of two conditions, which the exception of I.A.12.a lets stand.
        if note is not None and not are_opposite(one, other):
            yield one, other, note


def excludes2_pairs(case: Case) -> Iterator[Hit]:
    """Two codes of which one's category does not include the other: both may stand."""
    told = set()
    for owner, partner, other in _not_included(case):
        pair = frozenset((owner.key, other.key))
        if pair in told or case.library.excludes1(owner.facts.code, other.facts.code) is not None:
            continue
        told.add(pair)
        yield Hit(
            (owner.key, other.key),
            f'Excludes2 at {partner.owner}: "{partner.note}". {owner.facts.code} does not include {other.facts.code}; '
            "both stand where both are documented.",
            f"Tabular list, Excludes2 at {partner.owner}; Official Guidelines I.A.12.b",
        )


def _not_included(case: Case) -> Iterator[tuple[Diagnosis, Partner, Diagnosis]]:
    for owner in case.diagnoses:
        for partner in owner.facts.excludes2:
            for other in case.diagnoses:
                if _serves(case, partner, owner, other):
                    yield owner, partner, other


def missing_underlying_codes(case: Case) -> Iterator[Hit]:
    """Codes whose note asks for another code first, and there is none on the record."""
    for diagnosis in case.diagnoses:
        due = [partner for partner in diagnosis.facts.code_first if partner.is_due]
        for partner in due:
            named = [other for other in case.diagnoses if _serves(case, partner, diagnosis, other)]
            # An open note is served by any other disease; by which, its examples do not say.
            if named or (partner.is_open and _others(case, diagnosis)):
                continue
            yield Hit(
                (diagnosis.key,),
                f'{diagnosis.facts.code} is coded after what causes it: "Code first {partner.note}".',
                f"Tabular list, code first at {partner.owner}; Official Guidelines I.A.13",
                f"Put the code of the underlying condition{_named(partner)} before {diagnosis.facts.code}.",
            )


def underlying_codes_after(case: Case) -> Iterator[Hit]:
    """Codes that stand before the code that their note asks for first."""
    if not case.is_sequenced:
        return
    for place, diagnosis in enumerate(case.diagnoses):
        for partner in diagnosis.facts.code_first:
            after = [other for other in case.diagnoses[place + 1 :] if _serves(case, partner, diagnosis, other)]
            # Whatever stands before may be what an open note means; by which, its examples do not say.
            before = any(
                partner.is_open or _serves(case, partner, diagnosis, other) for other in case.diagnoses[:place]
            )
            if after and not before:
                yield Hit(
                    (diagnosis.key, after[0].key),
                    f'{after[0].facts.code} goes before {diagnosis.facts.code}: "Code first {partner.note}".',
                    f"Tabular list, code first at {partner.owner}; Official Guidelines I.A.13",
                    f"Sequence {after[0].facts.code} before {diagnosis.facts.code}.",
                )


def manifestations_first(case: Case) -> Iterator[Hit]:
    """A manifestation in the place of the principal or first-listed diagnosis."""
    first = case.first
    if first is not None and first.facts.is_manifestation:
        yield Hit(
            (first.key,),
            f"{first.facts.code} is the manifestation of another disease and never stands first.",
            "Official Guidelines I.A.13; Medicare Code Editor, manifestation code as principal diagnosis",
            "Sequence the underlying disease first.",
        )


def missing_additional_codes(case: Case) -> Iterator[Hit]:
    """Codes whose note asks for another code, and none that it names is on the record."""
    for diagnosis, partner in _unserved(case, InstructionKind.USE_ADDITIONAL):
        if partner.is_due:
            yield Hit(
                (diagnosis.key,),
                f'{diagnosis.facts.code} takes another code: "Use additional {partner.note}".',
                f"Tabular list, use additional code at {partner.owner}; Official Guidelines I.A.13",
                f"Add the code{_named(partner)} after {diagnosis.facts.code}.",
            )


def advised_additional_codes(case: Case) -> Iterator[Hit]:
    """Codes whose category asks for another code where something holds that the codes do not tell."""
    for diagnosis, partner in _unserved(case, InstructionKind.USE_ADDITIONAL):
        if partner.is_near and not partner.is_due and not partner.is_optional:
            yield Hit(
                (diagnosis.key,),
                f'{diagnosis.facts.code} may take another code: "Use additional {partner.note}".',
                f"Tabular list, use additional code at {partner.owner}; Official Guidelines I.A.13",
                f"Where it is documented, add the code{_named(partner)}.",
            )


def missing_companions(case: Case) -> Iterator[Hit]:
    """Codes whose category says to code something else also."""
    for diagnosis, partner in _unserved(case, InstructionKind.CODE_ALSO):
        if partner.is_near and not partner.is_optional:
            yield Hit(
                (diagnosis.key,),
                f'{diagnosis.facts.code} may go with another code: "Code also {partner.note}".',
                f"Tabular list, code also at {partner.owner}; Official Guidelines I.A.17",
                f"Where it is documented, add the code{_named(partner)}; either may go first.",
            )


def _unserved(case: Case, kind: InstructionKind) -> Iterator[tuple[Diagnosis, Partner]]:
    """What notes of a kind call for and no code on the record serves; notes that name no code cannot be judged."""
    for diagnosis in case.diagnoses:
        facts = diagnosis.facts
        partners = facts.use_additional if kind is InstructionKind.USE_ADDITIONAL else facts.code_also
        for partner in partners:
            if partner.names_codes and not any(_serves(case, partner, diagnosis, other) for other in case.diagnoses):
                yield diagnosis, partner


def _serves(case: Case, partner: Partner, diagnosis: Diagnosis, other: Diagnosis) -> bool:
    return other is not diagnosis and is_partner(case.library, partner, other.facts.code)


def _others(case: Case, diagnosis: Diagnosis) -> bool:
    """True where another diagnosis goes before this one, or may, the sequence being unknown."""
    if not case.is_sequenced:
        return len(case.diagnoses) > 1
    return case.diagnoses[0] is not diagnosis


def _named(partner: Partner) -> str:
    return f" ({partner.codes})" if partner.names_codes else ""
