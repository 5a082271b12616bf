"""The sentences of a note: what a cue can reach.

A clinical note is half prose, half lists: a list item is a sentence, a wrapped line is not. Points after
abbreviations, in decimals and after list numbers end nothing. Section headings are no part of a sentence.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from clinical_coding.documentation.sections import Section

__all__ = ["Sentence", "find_sentences"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence or list item, as character offsets, white space and bullet cut off."""

    start: int
    end: int


WRAP_WIDTHS: Final = range(60, 133)
"""A note whose longest line is of such a length may have been wrapped: a full line goes on even before a capital."""
MAX_SENTENCE_CHARACTERS: Final = 4_000
"""No cue reaches further; a text without stops is cut here, so that reading costs no more than its length."""
_MAX_LOOK_BACK: Final = 80
"""Characters that tell whether a point follows a list number or an abbreviation."""
_ABBREVIATIONS: Final = frozenset(
    "dr mr mrs ms st vs approx pt pts hx dx tx rx fx sx resp temp wt ht max min est ext abd neuro etc fig jr sr "
    "prof dept hosp inc e.g i.e b.i.d t.i.d q.i.d p.o i.v i.m a.m p.m s.c p.r.n h.s "
    "poss prob susp".split()
)
"""Small letters, without the last point. "No." is one only before a digit."""

_STOP = re.compile(r"[.!?]+(?:[\"')\]]+)?(?=\s)|\n")
_BULLET = re.compile(
    r"[ \t]*(?:[-*\u2022\u00b7>+]+(?=[ \t])|#{1,6}|\(?\d{1,2}[.)](?=[ \t])|\(?[a-zA-Z][)](?=[ \t]))[ \t]*"
)
_LAST_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.]*$")
_LIST_NUMBER = re.compile(r"(?:^|[\n.;:])[ \t]*[(#]?\d{1,2}$")


def _ends_at_point(text: str, start: int, match: re.Match[str]) -> bool:
    """Tell whether a point, question or exclamation mark ends the sentence that begins at ``start``."""
    at = match.start()
    if match.group()[0] != ".":
        # "? pneumonia" asks of what follows.
        return bool(text[start:at].strip()) and not text[at - 1].isspace()
    before = text[max(start, at - _MAX_LOOK_BACK) : at]
    if not before.strip() or _LIST_NUMBER.search(before):
        return False
    word = _LAST_WORD.search(before)
    following = text[match.end() : match.end() + 8].lstrip()[:1]
    if word is None:
        return True
    last = word.group().lower()
    if last == "no":
        return not following.isdigit()
    if last in _ABBREVIATIONS:
        # "p.o. Continue" begins a sentence; "Dr. Smith" does not.
        return "." in last and following.isupper()
    return True


def _ends_at_line(text: str, start: int, at: int, *, width: int | None) -> bool:
    """Tell whether the line break at ``at`` ends the sentence that begins at ``start``."""
    next_end = text.find("\n", at + 1)
    next_line = text[at + 1 : next_end if next_end >= 0 else len(text)]
    if not next_line.strip() or _BULLET.match(next_line):
        return True
    line_start = text.rfind("\n", 0, at) + 1
    line = text[max(line_start, start) : at].rstrip()
    first_word = next_line.split(maxsplit=1)[0]
    if line.endswith((",", " and", " or", " of", " with")) or first_word[0].islower():
        return False
    is_full = width is not None and at - line_start + 1 + len(first_word) > width
    return not (is_full and line[-1:] not in ".!?:;")


def _wrap_width(text: str) -> int | None:
    """The width, in characters, that a note's lines were wrapped to; none where they were not."""
    longest = max(map(len, text.splitlines()), default=0)
    return longest if longest in WRAP_WIDTHS else None


def _cut(text: str, start: int, end: int, *, width: int | None) -> Iterator[Sentence]:
    """Cut one section's body."""
    begin = start
    for match in _STOP.finditer(text, start, end):
        at = match.start()
        if match.group() == "\n":
            is_end = _ends_at_line(text, begin, at, width=width)
        else:
            is_end = _ends_at_point(text, begin, match)
        if is_end:
            yield from _stripped(text, begin, match.end())
            begin = match.end()
    yield from _stripped(text, begin, end)


def _stripped(text: str, start: int, end: int) -> Iterator[Sentence]:
    bullet = _BULLET.match(text, start, end)
    if bullet:
        start = bullet.end()
    while end - start > MAX_SENTENCE_CHARACTERS:
        space = text.rfind(" ", start, start + MAX_SENTENCE_CHARACTERS)
        cut = space if space > start else start + MAX_SENTENCE_CHARACTERS
        yield Sentence(start, cut)
        start = cut + (cut == space)
    content = text[start:end]
    if content.strip():
        yield Sentence(start + len(content) - len(content.lstrip()), start + len(content.rstrip()))


def find_sentences(text: str, sections: Sequence[Section]) -> tuple[Sentence, ...]:
    """Cut the bodies of a note's sections into sentences, in the order of the text."""
    width = _wrap_width(text)
    return tuple(
        sentence for section in sections for sentence in _cut(text, section.heading_end, section.end, width=width)
    )
