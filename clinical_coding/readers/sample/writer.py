"""Writing a note while keeping track of which characters support which code.

Text goes in piece by piece; a cited piece leaves an evidence span. Typos are put in at the end
and move the spans with them. It knows nothing of codes beyond their keys.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from string import Formatter
from typing import Final

from clinical_coding.readers.sample.draws import between

__all__ = ["TYPO_RATE", "Fragment", "NoteWriter", "Span", "cited", "joined", "plain"]

TYPO_RATE: Final = 0.005
"""Share of words that get one typo, among words of four or more small letters; identifiers and numbers get none."""

Piece = tuple[str, str | None]
"""Text, and the key of the code that it supports, if any."""
Fragment = tuple[Piece, ...]

_WORD = re.compile(r"\b[a-z]{4,}\b")


@dataclass(slots=True)
class Span:
    """Evidence for one code in one note, as character offsets."""

    key: str
    start: int
    end: int


def plain(text: str) -> Fragment:
    """Text that supports nothing."""
    return ((text, None),)


def cited(key: str, text: str) -> Fragment:
    """Text that supports a code."""
    return ((text, key),)


def joined(fragments: Sequence[Fragment], *, last: str = " and ") -> Fragment:
    """Join by commas, with another word before the last."""
    pieces: list[Piece] = []
    for index, fragment in enumerate(fragments):
        if index:
            pieces.append((last if index == len(fragments) - 1 else ", ", None))
        pieces.extend(fragment)
    return tuple(pieces)


@cache
def _parse(template: str) -> tuple[tuple[str, str | None], ...]:
    return tuple((literal, slot) for literal, slot, _, _ in Formatter().parse(template))


def _capitalised(fragment: Fragment) -> Fragment:
    text, key = fragment[0]
    if text[1:2].isupper():
        # As in eGFR and pH.
        return fragment
    return ((text[:1].upper() + text[1:], key), *fragment[1:])


class NoteWriter:
    """One note in the making."""

    __slots__ = ("_length", "_parts", "spans")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self.spans: list[Span] = []
        """In the order of the text."""

    def add(self, text: str) -> None:
        """Append plain text."""
        self._parts.append(text)
        self._length += len(text)

    def write(self, fragment: Fragment) -> None:
        """Append a fragment, with a span for each cited piece."""
        for text, key in fragment:
            if key is not None:
                self.spans.append(Span(key, self._length, self._length + len(text)))
            self.add(text)

    def fill(self, template: str, slots: Mapping[str, str | Fragment]) -> None:
        """Append a sentence; a slot named with a capital gets its value with one.

        Args:
            template: Text with slots in braces.
            slots: Values by name in small letters.
        """
        for literal, slot in _parse(template):
            if literal:
                self.add(literal)
            if slot is not None:
                value = slots[slot.lower()]
                fragment = plain(value) if isinstance(value, str) else value
                self.write(_capitalised(fragment) if slot[0].isupper() else fragment)

    def count_words(self) -> int:
        """Count the words so far."""
        return len("".join(self._parts).split())

    def finish(self, rng: Random) -> str:
        """Put the typos in and give the text; the spans fit it afterwards."""
        text = "".join(self._parts).rstrip()
        words = list(_WORD.finditer(text))
        draw = rng.random
        hits = [word for word in words if draw() < TYPO_RATE]
        for word in reversed(hits):
            start, end = word.span()
            misspelt = _misspell(word.group(), rng)
            text = text[:start] + misspelt + text[end:]
            self._move(start, len(misspelt) - (end - start))
        return text

    def _move(self, start: int, by: int) -> None:
        """Shift the ends behind a changed word; a word never straddles the border of a span."""
        for span in self.spans:
            if span.end > start:
                span.end += by
            if span.start > start:
                span.start += by


def _misspell(word: str, rng: Random) -> str:
    """Swap two neighbouring letters, drop one or double one; the first letter stays."""
    at = between(rng, 1, len(word) - 2)
    kind = between(rng, 0, 2)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]
