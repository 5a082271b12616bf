"""Facts of one diagnosis code: everything that the rules ask of it, gathered once and kept.

Rules run on every suggestion, and the same few thousand codes return; so what needs the tabular list's words is
worked out the first time a code is met. Source: the tabular list and ``conventions``.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from clinical_coding.code_library import CodeLibrary
from clinical_coding.codes import CodeSystem
from clinical_coding.edits.code_sets import CodeSet
from clinical_coding.edits.conventions import AgeGroup, Group, LaterGroup, SexGroup, conventions
from clinical_coding.edits.partners import Partner, partners_of
from clinical_coding.edits.titles import WITH_SEVENTH, Neighbour, Place, neighbours_of, place_of, words_of
from clinical_coding.tabular.instructions import InstructionKind

__all__ = ["DiagnosisFacts", "facts_of", "group_of"]

_AnyGroup = TypeVar("_AnyGroup", bound=Group)
_CM: Final = CodeSystem.ICD10CM
# Titles of these chapters name organs of the mother, of a relative, or of whoever caused an injury.
_FOREIGN_ORGANS: Final = ("O", "P", "T", "V", "W", "X", "Y", "Z")
_WITHOUT: Final = re.compile(r"(.+) without [^,]+")


@dataclass(frozen=True, slots=True, eq=False)
class DiagnosisFacts:
    """What holds of a valid ICD-10-CM code, whoever has it."""

    code: str
    title: str
    place: Place | None
    """The side and site that the title names."""
    neighbours: tuple[Neighbour, ...]
    """Codes that say more, of an unspecified one."""
    is_manifestation: bool
    is_external_cause: bool
    is_exempt: bool
    """From the present-on-admission indicator."""
    secondary_only: LaterGroup | None
    status: Group | None
    first_only: Group | None
    sex: SexGroup | None
    ages: tuple[AgeGroup, ...]
    code_first: tuple[Partner, ...]
    use_additional: tuple[Partner, ...]
    code_also: tuple[Partner, ...]
    excludes2: tuple[Partner, ...]
    """Of the code and its category; what blocks and chapters exclude is other chapters' diseases at large."""
    included: frozenset[int]
    """Entries of the table of inclusions under whose ``codes`` it falls."""
    includes: frozenset[int]
    """Entries of the same table under whose ``by`` it falls."""
    combined: frozenset[int]
    combines: frozenset[int]
    integral: frozenset[int]
    has_integral: frozenset[int]
    without: str | None
    """The beginning of a title that goes on "without" something, lower case."""


def group_of(code: str, groups: Sequence[_AnyGroup]) -> _AnyGroup | None:
    """The first group that an ICD-10-CM code belongs to."""
    return next((group for group in groups if group.codes.holds(_CM, code)), None)


@lru_cache(maxsize=1 << 16)
def facts_of(library: CodeLibrary, code: str) -> DiagnosisFacts:
    """Gather the facts of a code that the library holds."""
    entry = library.get(code)
    assert entry is not None, "facts are asked of codes that the library holds"
    table, words = conventions(), words_of(entry.description)
    without = _WITHOUT.fullmatch(entry.description.lower())
    return DiagnosisFacts(
        code=code,
        title=entry.description,
        place=place_of(library, code, entry.description),
        neighbours=neighbours_of(library, code, entry.description),
        is_manifestation=library.is_manifestation(code),
        is_external_cause="V00" <= code < "Z",
        is_exempt=_is_exempt(code),
        secondary_only=_secondary_only(code, entry.description),
        status=group_of(code, table.status),
        first_only=group_of(code, table.first_only),
        sex=_sex(code, words),
        ages=tuple(group for group in table.ages if group.codes.holds(_CM, code)),
        code_first=partners_of(library, code, InstructionKind.CODE_FIRST),
        use_additional=partners_of(library, code, InstructionKind.USE_ADDITIONAL),
        code_also=partners_of(library, code, InstructionKind.CODE_ALSO),
        excludes2=tuple(note for note in partners_of(library, code, InstructionKind.EXCLUDES2) if note.is_near),
        included=_places(code, (entry.codes for entry in table.included)),
        includes=_places(code, (entry.by for entry in table.included)),
        combined=_places(code, (entry.codes for entry in table.combined)),
        combines=_places(code, (entry.beside for entry in table.combined)),
        integral=_places(code, (entry.codes for entry in table.integral)),
        has_integral=_places(code, (entry.to for entry in table.integral)),
        without=None if without is None else without[1],
    )


def _places(code: str, sets: Iterable[CodeSet]) -> frozenset[int]:
    return frozenset(place for place, codes in enumerate(sets) if codes.holds(_CM, code))


def _is_exempt(code: str) -> bool:
    # Seventh characters of later encounters and sequelae: the injury was there before.
    if code[0] in "ST" and len(code) == WITH_SEVENTH and code[-1] not in "ABC":
        return True
    return group_of(code, conventions().admission_exempt) is not None


def _secondary_only(code: str, title: str) -> LaterGroup | None:
    table = conventions()
    # Underdosing is told by fifth or sixth characters that differ from category to category; titles agree.
    return table.underdosing if title.startswith("Underdosing") else group_of(code, table.secondary_only)


def _sex(code: str, words: frozenset[str]) -> SexGroup | None:
    table = conventions()
    for group in table.sexes:
        if group.codes.holds(_CM, code) and not group.unless.holds(_CM, code):
            return group
    if code[0] in _FOREIGN_ORGANS:
        return None
    for told in table.sex_words:
        if words & told.words and not words & told.unless:
            return next(group for group in table.sexes if group.sex == told.sex)
    return None
