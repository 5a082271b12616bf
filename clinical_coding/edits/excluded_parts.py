"""Tells whether an Excludes1 line means a whole code, or one condition among those that the code covers.

"Radiculitis NOS (M54.1-)" excludes what M54.1 calls radiculitis; M54.16, a lumbar radiculopathy, is more than
that. "Irritable bowel syndrome (K58.-)" excludes all of K58. The words decide: a line that is nearer to one of the
code's inclusion terms than to its title means that term. Source: Official Guidelines I.A.11, I.A.12.a.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from clinical_coding.code_library import CodeLibrary
from clinical_coding.edits.titles import words_of
from clinical_coding.tabular.instructions import Instruction, InstructionKind

__all__ = ["excludes_part_only"]

_CATEGORY: Final = 3
"""Characters of a category."""
_BRACKETS: Final = re.compile(r"\([^)]*\)|\[[^\]]*\]")
"""Codes, and the nonessential modifiers of I.A.7."""
_NO_CONTENT: Final = frozenset("nos nec of and or the in due to with without unspecified other by for as a an".split())


@lru_cache(maxsize=1 << 16)
def excludes_part_only(library: CodeLibrary, one: str, other: str) -> bool:
    """Tell whether every Excludes1 line between two codes means only a part of the code that it names.

    Args:
        library: The release.
        one: A code.
        other: Another; a note of either forbids the two together.
    """
    lines = [
        (note, excluded)
        for owner, excluded in ((one, other), (other, one))
        for note in library.instructions(owner, InstructionKind.EXCLUDES1)
        if library.names(note, excluded)
    ]
    return bool(lines) and all(_names_part(library, note, excluded) for note, excluded in lines)


def _names_part(library: CodeLibrary, note: Instruction, excluded: str) -> bool:
    # A category, or a range of them, is a class of diseases, and meant whole.
    if len(note.ranges) != 1 or note.ranges[0].first != note.ranges[0].last or len(note.ranges[0].first) == _CATEGORY:
        return False
    words = _content(_BRACKETS.sub(" ", note.note))
    titles, terms = zip(*_described(library, excluded), strict=True)
    # "NOS" and "unspecified" are the same thing said twice.
    if "NOS" in note.note and "unspecified" in words_of(titles[0]):
        return False
    as_title = max(len(words & _content(title)) for title in titles)
    as_term = max((len(words & _content(term)) for some in terms for term in some), default=0)
    # A title that has half of the line's words already names the same thing.
    return as_term > as_title and 2 * as_title < len(words)


def _content(text: str) -> frozenset[str]:
    return frozenset(word.removesuffix("s") for word in words_of(text) if word not in _NO_CONTENT)


def _described(library: CodeLibrary, code: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Titles and inclusion terms, from a code up to its category."""
    entry = library.get(code)
    while entry is not None:
        yield entry.description, entry.inclusion_terms
        entry = None if entry.parent is None else library.get(entry.parent)
