"""Between stages 1 and 2: codes that cannot stand on a record's claim are mapped to one that can, or taken off.

A code is judged by the release that it states, where that is held; by the date of coding, where it states none. What
nobody can judge is kept as it is: a code of a stated release that is not held (CodiEsp's ``icd10es-2018``), and one
whose system has no release for the date.

Where exactly one valid code is meant, the code becomes that one: the only code below a category, the code with its
placeholder X, the code of the same title that took the place of a deleted one. Else it is dropped, and with it what
the record says of its neighbours: a record that carries I50 does not deny I50.9. So the valid codes under a dropped
code's nearest category become unknown on that record, masked out of the loss; where they are too many to list, or the
system has no categories, all that the record does not list is unknown. A rejected code denies nothing else, and is
dropped without a trace but the count.

Knows nothing of the label space. What versions are measured on is not touched here: gold stays gold, valid or not.

Source: ICD-10-CM Official Guidelines I.B.2 (highest number of characters), I.A.4 (placeholder), I.A.5 (7th character).
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from clinical_coding.artefact import Artefact
from clinical_coding.code_library import CodeLibrary
from clinical_coding.code_systems import CodeSystems, Standing, date_of_coding
from clinical_coding.codes import Code, CodeState, CodeSystem, EvidenceSpan
from clinical_coding.records import CodedRecord, Unlisted

__all__ = ["MAX_MASKED_CODES", "CodeValidity", "Fate", "ValidCodes"]

logger = logging.getLogger(__name__)

MAX_MASKED_CODES = 50
"""Codes that a dropped one makes unknown by name; of more, the whole record becomes partial."""
_FULL_LENGTH = 7
"""Characters of a code with a 7th character, the dot aside."""
_RANK = {CodeState.POSITIVE: 0, CodeState.UNKNOWN: 1, CodeState.NEGATIVE: 2}
"""Of two states of one code the lower rank wins, as in every metric."""


class Fate(StrEnum):
    """What became of a code, and why."""

    VALID = "valid"
    NOT_JUDGED = "not-judged"
    """No held release speaks of it."""
    MAPPED_ONLY_LEAF = "mapped-only-code-below"
    """A heading with one valid code below."""
    MAPPED_COMPLETED = "mapped-completed"
    """Written without its placeholder X."""
    MAPPED_SUCCESSOR = "mapped-successor"
    """Deleted; one valid code has the same title."""
    DROPPED_NOT_A_LEAF = "dropped-not-a-leaf"
    DROPPED_DELETED = "dropped-deleted"
    DROPPED_NOT_YET = "dropped-not-yet-effective"
    DROPPED_UNKNOWN = "dropped-unknown"


_DROPPED = {
    Standing.NOT_A_LEAF: Fate.DROPPED_NOT_A_LEAF,
    Standing.DELETED: Fate.DROPPED_DELETED,
    Standing.NOT_YET: Fate.DROPPED_NOT_YET,
    Standing.UNKNOWN: Fate.DROPPED_UNKNOWN,
}


class CodeValidity(Artefact):
    """What became of the codes of a training's records; kept with the run."""

    codes: dict[str, int]
    """Number of codes by fate."""
    num_changed_records: int
    """Records that lost a code or had one mapped."""
    num_partial_records: int
    """Complete records of which, for a dropped code, nothing unlisted is known any more."""
    num_masked_codes: int
    """Codes made unknown for a dropped neighbour, on all records together."""
    num_merged_codes: int
    """Codes that, mapped, met themselves on their record."""

    @property
    def num_mapped(self) -> int:
        """Codes that became another."""
        return sum(count for fate, count in self.codes.items() if fate.startswith("mapped-"))

    @property
    def num_dropped(self) -> int:
        """Codes that were taken off their record."""
        return sum(count for fate, count in self.codes.items() if fate.startswith("dropped-"))

    def describe(self) -> str:
        """One line for people."""
        told = [f"{fate.replace('-', ' ')} {count:,}" for fate, count in self.codes.items() if count]
        partial = f"; records that are now partial {self.num_partial_records:,}" if self.num_partial_records else ""
        return f"codes by release: {', '.join(told) or 'none'}{partial}"


@dataclass(frozen=True, slots=True)
class _Ruling:
    """What is to become of one code on one date."""

    fate: Fate
    code: str
    """The code, or the one that takes its place."""
    masked: tuple[str, ...] | None = ()
    """Codes that a drop makes unknown; None where it is all that the record does not list."""

    @property
    def is_drop(self) -> bool:
        return self.fate.startswith("dropped-")


class ValidCodes:
    """Settles the codes of records, one after the other, and counts what became of them."""

    def __init__(self, systems: CodeSystems) -> None:
        self.systems = systems
        """The releases that codes are judged by."""
        self._rulings: dict[tuple[CodeSystem, str, date], _Ruling] = {}
        self._codes_by_title: dict[str, Mapping[str, tuple[str, ...]]] = {}
        self._fates = Counter[Fate]()
        self._tallies = Counter[str]()

    def settle(self, records: Iterable[CodedRecord]) -> Iterator[CodedRecord]:
        """Map or drop what cannot stand on a claim; a record whose codes all can is passed on as it is."""
        for record in records:
            yield self._settle(record)

    def counts(self) -> CodeValidity:
        """What became of the codes so far."""
        return CodeValidity(
            codes={str(fate): self._fates[fate] for fate in Fate},
            num_changed_records=self._tallies["changed"],
            num_partial_records=self._tallies["partial"],
            num_masked_codes=self._tallies["masked"],
            num_merged_codes=self._tallies["merged"],
        )

    def _settle(self, record: CodedRecord) -> CodedRecord:
        day = date_of_coding(record.encounter)
        ruled = [(code, self._rule(code, day=day)) for code in record.codes]
        self._fates.update(ruling.fate for _, ruling in ruled)
        if all(ruling.code == code.code and not ruling.is_drop for code, ruling in ruled):
            return record
        self._tallies["changed"] += 1
        kept = [_renamed(code, ruling.code) for code, ruling in ruled if not ruling.is_drop]
        codes = _merged(kept)
        self._tallies["merged"] += len(kept) - len(codes)
        dropped = [(c, ruling) for c, ruling in ruled if ruling.is_drop and c.state is not CodeState.NEGATIVE]
        masks = self._masks(dropped, listed={code.key for code in codes})
        self._tallies["masked"] += len(masks)
        changes: dict[str, object] = {"codes": (*codes, *masks)}
        if any(ruling.masked is None for _, ruling in dropped) and record.unlisted is Unlisted.ABSENT:
            self._tallies["partial"] += 1
            changes["unlisted"] = Unlisted.UNKNOWN
        return record.model_copy(update=changes)

    def _masks(self, dropped: Sequence[tuple[Code, _Ruling]], *, listed: set[str]) -> list[Code]:
        masks: dict[str, Code] = {}
        for code, ruling in dropped:
            for number in ruling.masked or ():
                mask = Code(
                    system=code.system,
                    release=code.release,
                    code=number,
                    state=CodeState.UNKNOWN,
                    provenance=code.provenance,
                )
                if mask.key not in listed:
                    masks[mask.key] = mask
        return list(masks.values())

    def _rule(self, code: Code, *, day: date | None) -> _Ruling:
        judged_on = self._day_of_judgement(code, day=day)
        if judged_on is None:
            return _Ruling(Fate.NOT_JUDGED, code.code)
        key = (code.system, code.code, judged_on)
        ruling = self._rulings.get(key)
        if ruling is None:
            ruling = self._rulings[key] = self._ruling(code.system, code.code, day=judged_on)
            if ruling.fate is not Fate.VALID:
                logger.info("code %s on %s: %s", code.key, judged_on, ruling.fate)
        return ruling

    def _day_of_judgement(self, code: Code, *, day: date | None) -> date | None:
        """The day on which a code is judged; None where no held release speaks of it, for the nearest is a guess."""
        if code.release is None:
            release = self.systems.in_force(code.system, day)
        else:
            release = self.systems.named(code.system, code.release)
        if release is None:
            return None
        # Within a release of ICD-10-CM every day is as the first; elsewhere single codes come and go.
        if code.system is CodeSystem.ICD10CM or day is None or not release.covers(day):
            return release.effective_from
        return day

    def _ruling(self, system: CodeSystem, code: str, *, day: date) -> _Ruling:
        standing = self.systems.standing(system, code, day)
        if standing is Standing.VALID:
            return _Ruling(Fate.VALID, code)
        if system is not CodeSystem.ICD10CM:
            return _Ruling(_DROPPED[standing], code, masked=None)
        return self._in_the_tree(code, standing, day=day)

    def _in_the_tree(self, code: str, standing: Standing, *, day: date) -> _Ruling:
        """Judge a code of ICD-10-CM, whose categories say what is near."""
        library = self.systems.icd10cm(day)
        below = library.leaves_below(code) if library.get(code) else ()
        if len(below) == 1:
            return _Ruling(Fate.MAPPED_ONLY_LEAF, below[0])
        if len(completed := _completions(code, library)) == 1:
            return _Ruling(Fate.MAPPED_COMPLETED, completed[0])
        successor = self._successor(code, library, day=day) if standing is Standing.DELETED else None
        if successor is not None:
            return _Ruling(Fate.MAPPED_SUCCESSOR, successor)
        nearest = library.nearest_ancestor(code)
        if nearest is None:
            return _Ruling(_DROPPED[standing], code, masked=None)
        near = (nearest.code,) if nearest.is_leaf else library.leaves_below(nearest.code)
        return _Ruling(_DROPPED[standing], code, masked=near if len(near) <= MAX_MASKED_CODES else None)

    def _successor(self, code: str, library: CodeLibrary, *, day: date) -> str | None:
        """The one valid code with the title that a deleted code last had."""
        title = self.systems.describe(CodeSystem.ICD10CM, code, day)
        if title is None:
            return None
        if library.release not in self._codes_by_title:
            self._codes_by_title[library.release] = _codes_by_title(library)
        same = self._codes_by_title[library.release].get(title.casefold(), ())
        return same[0] if len(same) == 1 else None


def _codes_by_title(library: CodeLibrary) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, list[str]] = defaultdict(list)
    for code in library.leaves():
        entry = library.get(code)
        assert entry is not None
        grouped[entry.description.casefold()].append(code)
    return {title: tuple(codes) for title, codes in grouped.items()}


def _completions(code: str, library: CodeLibrary) -> list[str]:
    """The valid codes that a code is, once placeholders X fill it to seven characters."""
    characters = code.replace(".", "")
    missing = "X" * (_FULL_LENGTH - len(characters))
    if not missing:
        return []
    filled = {characters[:at] + missing + characters[at:] for at in range(3, len(characters))}
    return sorted(written for one in filled if library.is_valid(written := f"{one[:3]}.{one[3:]}"))


def _renamed(code: Code, number: str) -> Code:
    return code if code.code == number else code.model_copy(update={"code": number})


def _merged(codes: Sequence[Code]) -> list[Code]:
    """Each code once: the stronger state wins, and the evidence of that state is kept together."""
    merged: dict[tuple[str, tuple[str, ...]], Code] = {}
    for code in codes:
        place = (code.key, code.modifiers)
        merged[place] = _merge(merged[place], code) if place in merged else code
    return list(merged.values())


def _merge(one: Code, other: Code) -> Code:
    first, second = sorted((one, other), key=lambda code: _RANK[code.state])
    if first.state is not second.state:
        return first
    sequences = [code.sequence for code in (first, second) if code.sequence is not None]
    return first.model_copy(
        update={
            "sequence": min(sequences, default=None),
            "present_on_admission": first.present_on_admission or second.present_on_admission,
            "weight": max(first.weight, second.weight),
            "evidence": _joined([*first.evidence, *second.evidence]),
        }
    )


def _joined(spans: Sequence[EvidenceSpan]) -> tuple[EvidenceSpan, ...]:
    """Spans in order; those that overlap become one."""
    joined: list[EvidenceSpan] = []
    for span in sorted(spans, key=lambda span: (span.note_id, span.start)):
        last = joined[-1] if joined else None
        if last is not None and last.note_id == span.note_id and span.start < last.end:
            joined[-1] = last.model_copy(update={"end": max(last.end, span.end)})
        else:
            joined.append(span)
    return tuple(joined)
