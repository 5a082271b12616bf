"""Ways to break a sound record, one thing each, with the rule that has to find it."""

from collections.abc import Callable
from functools import partial
from typing import Final

from clinical_coding.codes import Code, CodeSystem
from clinical_coding.edits.conventions import conventions
from clinical_coding.edits.excluded_parts import excludes_part_only
from clinical_coding.edits.facts import facts_of
from clinical_coding.edits.partners import Partner, is_partner
from clinical_coding.records import Setting
from clinical_coding.tabular.instructions import InstructionKind
from scripts.broken_records.draft import Draft

__all__ = ["CM", "KINDS", "Breaker"]

CM: Final = CodeSystem.ICD10CM

Breaker = Callable[[Draft], str | None]
"""Breaks a draft and gives the label key that the finding must name; nothing where the draft has nothing to break."""


def _unknown(draft: Draft) -> str | None:
    place = draft.pick(lambda code: len(code.code) <= 6)
    return None if place is None else draft.rewrite(place, f"{draft.diagnoses[place].code[:3]}.9ZZ")


def _heading(draft: Draft) -> str | None:
    place = draft.pick(lambda code: 3 < len(code.code) < 8)
    entry = None if place is None else draft.library.get(draft.diagnoses[place].code)
    return None if place is None or entry is None or entry.parent is None else draft.rewrite(place, entry.parent)


def _no_seventh(draft: Draft) -> str | None:
    place = draft.pick(lambda code: len(code.code) == 8)
    return None if place is None else draft.rewrite(place, draft.diagnoses[place].code[:-1].rstrip("X").rstrip("."))


def _wrong_seventh(draft: Draft) -> str | None:
    place = draft.pick(lambda code: len(code.code) == 8 and not code.code.startswith("O"))
    return None if place is None else draft.rewrite(place, draft.diagnoses[place].code[:-1] + "Z")


def _no_placeholder(draft: Draft) -> str | None:
    place = draft.pick(lambda code: len(code.code) == 8 and code.code[-2] == "X")
    return None if place is None else draft.rewrite(place, draft.diagnoses[place].code.replace("X", ""))


def _repeated(draft: Draft) -> str | None:
    draft.diagnoses.append(draft.rng.choice(draft.diagnoses))
    return draft.diagnoses[-1].key


def _excluded(draft: Draft) -> str | None:
    for code in draft.rng.sample(draft.diagnoses, len(draft.diagnoses)):
        notes = [one for one in draft.library.instructions(code.code, InstructionKind.EXCLUDES1) if one.ranges]
        for note in draft.rng.sample(notes, len(notes)):
            other = note.ranges[0].first
            leaves = draft.library.leaves_below(other) or (other,)
            leaf = draft.rng.choice(leaves)
            sides = {place.side for one in (code.code, leaf) if (place := facts_of(draft.library, one).place)}
            is_told = draft.library.excludes1(code.code, leaf) and not excludes_part_only(
                draft.library, code.code, leaf
            )
            if is_told and sides != {"left", "right"} and not draft.has(leaf):
                return draft.insert(len(draft.diagnoses), leaf)
    return None


def _manifestation_first(draft: Draft) -> str | None:
    return draft.insert(0, draft.rng.choice(["F02.80", "G63", "H42", "I43"]))


def _served(draft: Draft, kind: str) -> list[tuple[int, Partner, list[int]]]:
    """Diagnoses whose due partner is there, with the places of what serves it."""
    found = []
    for place, code in enumerate(draft.diagnoses):
        facts = draft.facts(code)
        for partner in facts.code_first if kind == "first" else facts.use_additional:
            servers = [
                other
                for other, second in enumerate(draft.diagnoses)
                if other != place and is_partner(draft.library, partner, second.code)
            ]
            if servers and (partner.is_due or kind == "first"):
                found.append((place, partner, servers))
    return found


def _order(draft: Draft) -> str | None:
    for place, _, servers in _served(draft, "first"):
        if len(servers) == 1 and servers[0] < place:
            code = draft.diagnoses.pop(place)
            draft.diagnoses.insert(servers[0], code)
            return code.key
    return None


def _no_underlying(draft: Draft) -> str | None:
    for place, partner, servers in _served(draft, "first"):
        if partner.is_due and not partner.is_open:
            key = draft.diagnoses[place].key
            draft.diagnoses = [code for other, code in enumerate(draft.diagnoses) if other not in servers]
            return key
    return None


def _no_additional(draft: Draft) -> str | None:
    for place, _, servers in _served(draft, "additional"):
        key = draft.diagnoses[place].key
        draft.diagnoses = [code for other, code in enumerate(draft.diagnoses) if other not in servers]
        return key
    return None


def _is_complicated(code: Code, *, beginning: str) -> bool:
    return code.code.startswith(beginning) and code.code[4] in "23456"


def _included(draft: Draft) -> str | None:
    for beginning in ("E08", "E09", "E10", "E11", "E13"):
        place = draft.pick(partial(_is_complicated, beginning=beginning))
        if place is not None and not draft.has(f"{beginning}.9"):
            return draft.insert(len(draft.diagnoses), f"{beginning}.9")
    if draft.has("N18.6"):
        return draft.insert(len(draft.diagnoses), "N18.4")
    return None


def _uncombined(draft: Draft) -> str | None:
    if draft.has("I10") and not draft.has("I11", "I12", "I13", "N18", "I50"):
        draft.insert(len(draft.diagnoses), draft.rng.choice(["N18.4", "I50.22"]))
        return "icd10cm:I10"
    return None


def _symptom(draft: Draft) -> str | None:
    for code in draft.diagnoses:
        for place in draft.facts(code).has_integral:
            first = conventions().integral[place].codes.spans[0].first
            leaf = (draft.library.leaves_below(first) or (first,))[-1]
            side = facts_of(draft.library, leaf).place
            if not draft.has(leaf) and side is None and draft.library.is_valid(leaf):
                return draft.insert(len(draft.diagnoses), leaf)
    return None


def _other_sex(draft: Draft) -> str | None:
    sex = draft.encounter.sex
    place = draft.pick(lambda code: draft.facts(code).sex is not None)
    if place is not None and sex in ("F", "M"):
        draft.encounter = draft.encounter.model_copy(update={"sex": "M" if sex == "F" else "F"})
        return draft.diagnoses[place].key
    return draft.insert(len(draft.diagnoses), {"F": "N40.1", "M": "N80.00"}[sex]) if sex in ("F", "M") else None


def _other_age(draft: Draft) -> str | None:
    place = draft.pick(lambda code: bool(draft.facts(code).ages))
    if place is None:
        return None
    group = draft.facts(draft.diagnoses[place]).ages[0]
    age = group.first - 1 if group.first > 0 else group.last + 1
    draft.encounter = draft.encounter.model_copy(update={"age": age})
    return draft.diagnoses[place].key


def _cause_first(draft: Draft) -> str | None:
    return None if draft.has("W") else draft.insert(0, draft.rng.choice(["W19.XXXA", "V49.40XA", "Y92.009"]))


def _secondary_first(draft: Draft) -> str | None:
    return draft.insert(0, draft.rng.choice(["Z68.32", "B96.20", "R65.20", "Z59.00", "T38.3X6A", "Z79.4"]))


def _status_first(draft: Draft) -> str | None:
    return draft.insert(0, draft.rng.choice(["Z95.0", "Z87.891", "Z89.511", "Z99.2"]))


def _first_later(draft: Draft) -> str | None:
    head = draft.diagnoses[0]
    if len(draft.diagnoses) < 2 or draft.facts(head).first_only is None:
        return None
    if any(draft.facts(code).first_only for code in draft.diagnoses[1:]):
        return None
    draft.diagnoses = [draft.diagnoses[1], head, *draft.diagnoses[2:]]
    return head.key


def _no_indicator(draft: Draft) -> str | None:
    place = draft.pick(lambda code: code.present_on_admission in ("Y", "N") and not draft.facts(code).is_exempt)
    return None if place is None else draft.set(place, present_on_admission=None)


def _wrong_exemption(draft: Draft) -> str | None:
    place = draft.pick(lambda code: code.present_on_admission in ("Y", "N") and not draft.facts(code).is_exempt)
    return None if place is None else draft.set(place, present_on_admission="1")


def _inpatient_system(draft: Draft) -> str | None:
    if draft.encounter.setting is Setting.INPATIENT:
        return None
    draft.others.append(Code(system=CodeSystem.ICD10PCS, code="02703DZ"))
    return draft.others[-1].key


def _mixed(draft: Draft) -> str | None:
    return draft.insert(len(draft.diagnoses), "Z38.00") if draft.has("O") else None


def _other_side(draft: Draft) -> str | None:
    def names_side(code: Code) -> bool:
        place = draft.facts(code).place
        return place is not None and place.side in ("left", "right") and bool(code.evidence) and len(code.code) < 8

    place = draft.pick(names_side)
    if place is None:
        return None
    code = draft.diagnoses[place].code
    own = draft.facts(draft.diagnoses[place]).place
    for sibling in draft.library.siblings(code):
        other = facts_of(draft.library, sibling).place
        if own and other and {own.side, other.side} == {"left", "right"} and not draft.has(sibling):
            return draft.rewrite(place, sibling)
    return None


def _open_side(draft: Draft) -> str | None:
    place = draft.pick(lambda code: bool(code.evidence) and draft.facts(code).place is not None)
    for sibling in () if place is None else draft.library.siblings(draft.diagnoses[place].code):
        other = facts_of(draft.library, sibling).place
        if place is not None and other and draft.diagnoses[place].code in dict((b, a) for a, b in other.sided):
            return draft.rewrite(place, sibling)
    return None


KINDS: Final[dict[str, tuple[str, Breaker]]] = {
    "a code that there is not": ("code-unknown", _unknown),
    "a heading": ("code-incomplete", _heading),
    "no seventh character": ("seventh-character-missing", _no_seventh),
    "a wrong seventh character": ("seventh-character-wrong", _wrong_seventh),
    "no placeholder": ("placeholder-missing", _no_placeholder),
    "a code twice": ("code-repeated", _repeated),
    "an excluded code": ("excludes1-conflict", _excluded),
    "a manifestation first": ("manifestation-first", _manifestation_first),
    "an underlying disease after": ("code-first-order", _order),
    "no underlying disease": ("code-first-missing", _no_underlying),
    "no additional code": ("use-additional-code-missing", _no_additional),
    "an included code": ("code-included", _included),
    "two codes for one": ("combination-code-due", _uncombined),
    "a symptom of a disease": ("symptom-integral", _symptom),
    "the other sex": ("sex-conflict", _other_sex),
    "another age": ("age-conflict", _other_age),
    "an external cause first": ("external-cause-first", _cause_first),
    "a secondary code first": ("secondary-only-first", _secondary_first),
    "a status first": ("status-first", _status_first),
    "a first code later": ("first-only-after", _first_later),
    "no indicator": ("present-on-admission-missing", _no_indicator),
    "a wrong exemption": ("present-on-admission-exempt", _wrong_exemption),
    "an inpatient system elsewhere": ("inpatient-system-elsewhere", _inpatient_system),
    "mother and newborn": ("mother-and-newborn", _mixed),
    "the other side": ("laterality-conflict", _other_side),
    "an open side": ("laterality-unspecified", _open_side),
}
