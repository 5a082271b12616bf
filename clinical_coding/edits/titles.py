"""What the words of official titles tell of a code: its side, its site, and which neighbours say more.

Source: the titles of the tabular list; Official Guidelines I.A.9.b, I.B.13, I.B.18.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from clinical_coding.code_library import CodeLibrary

__all__ = ["SIDES", "WITH_SEVENTH", "Neighbour", "Place", "neighbours_of", "place_of", "words_of"]

WITH_SEVENTH: Final = 8
"""Length of a code that has its seventh character, the dot counted."""
SIDES: Final = ("left", "right", "bilateral")

_WORD: Final = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_SITE: Final = re.compile(r"\b(?:right|left|unspecified) ([a-z][a-z -]*)")
_BRACKETS: Final = re.compile(r"\([^)]*\)|\[[^\]]*\]")
_QUALIFIERS: Final = frozenset(
    "unspecified other specified not elsewhere classified without with and or of the in to due a an by for on as "
    "side encounter initial subsequent sequela type".split()
)
_OTHER_SIDE: Final = {"left": "right", "right": "left"}
_NO_SITE: Final = frozenset(
    "side part parts site sites dominant artery vein vessel vessels pain tenderness swelling mass lump quadrant "
    "fracture level injury degree wound dislocation subluxation sprain end cavity area region shaft process head wall "
    "elsewhere procedure involvement necrosis passage canal muscle tendon ligament joint gland prosthesis "
    "phalanx".split()
)
_VAGUE: Final = frozenset({"other", "unspecified"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the body a title says that something is."""

    side: str | None
    """``left``, ``right`` or ``bilateral``; null where the title leaves it open and neighbours name it."""
    sites: tuple[str, ...]
    """What stands after the side, lower case, such as ``knee``; any of them; empty where it is not said there."""
    sided: tuple[tuple[str, str], ...] = ()
    """Where the side is open: each side with the code that names it."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A code under the same parent that says more than an unspecified one."""

    code: str
    words: frozenset[str]
    """What its title says more; a sentence that has them all speaks of it."""


def words_of(text: str) -> frozenset[str]:
    """The words of a title or sentence, lower case."""
    return frozenset(_WORD.findall(text.lower()))


def place_of(library: CodeLibrary, code: str, title: str) -> Place | None:
    """The side and site in a code's title; null where neither it nor a neighbour names a side."""
    lower = title.lower()
    named = [side for side in SIDES if re.search(rf"\b{side}\b", lower)]
    if len(named) > 1 or not (named or "unspecified" in lower):
        return None
    if named == ["bilateral"]:
        return Place("bilateral", _sites(lower))
    neighbours = dict(_same_level(library, code))
    if named:
        # "Left ventricular failure" has no counterpart on the right: its side is part of a name.
        other = re.sub(rf"\b{named[0]}\b", _OTHER_SIDE[named[0]], lower)
        has_other = other in neighbours or other in _titles_of_category(library, code[:3])
        return Place(named[0], _sites(lower)) if has_other else None
    for found in re.finditer(r"\bunspecified\b", lower):
        head, tail = lower[: found.start()], lower[found.end() :]
        # One of several "unspecified" is the side; with the right one a neighbour's title comes out.
        sided = [
            (side, neighbours[head + side + tail]) for side in ("left", "right") if head + side + tail in neighbours
        ]
        if sided:
            return Place(None, _sites(lower[found.start() :]), tuple(sided))
    return None


def neighbours_of(library: CodeLibrary, code: str, title: str) -> tuple[Neighbour, ...]:
    """Codes under the same parent that say more than an unspecified one; none for any other code."""
    entry, own = library.get(code), words_of(title)
    if entry is None or entry.parent is None or "unspecified" not in own:
        return ()
    found = []
    for sibling in library.children(entry.parent):
        other = library.get(sibling)
        words = (
            words_of(_BRACKETS.sub(" ", other.description)) if other is not None and sibling != code else frozenset()
        )
        more = words - own
        is_vague = bool(more & _VAGUE)
        more -= _QUALIFIERS
        if more and not is_vague and not more & set(SIDES):
            found.append(Neighbour(sibling, more))
    return tuple(found)


def _same_level(library: CodeLibrary, code: str) -> Iterator[tuple[str, str]]:
    """Titles and codes of what differs from a code in one place; seventh characters are kept."""
    for sibling in library.siblings(code):
        yield _title(library, sibling), sibling
    entry = library.get(code)
    base = library.get(entry.parent) if entry is not None and entry.parent is not None else None
    if len(code) == WITH_SEVENTH and base is not None and base.parent is not None:
        for other in library.children(base.parent):
            extended = other + code[len(base.code) :]
            if library.is_valid(extended):
                yield _title(library, extended), extended


@lru_cache(maxsize=512)
def _titles_of_category(library: CodeLibrary, category: str) -> frozenset[str]:
    return frozenset(_title(library, leaf) for leaf in library.leaves_below(category))


def _title(library: CodeLibrary, code: str) -> str:
    entry = library.get(code)
    return "" if entry is None else entry.description.lower()


def _sites(title: str) -> tuple[str, ...]:
    """The last words of what stands after the last side: ``bronchus`` and ``lung`` of "right bronchus or lung"."""
    found = _SITE.findall(title)
    parts = re.split(r" (?:or|and|of|with) ", found[-1].strip()) if found else []
    heads = [part.split()[-1] for part in parts if part.split()]
    return tuple(head for head in heads if len(head) > 2 and head not in _NO_SITE)
