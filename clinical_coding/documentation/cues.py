"""The cues that stand around a mention, and where they are found in a sentence.

A cue is a phrase of ``cues.yaml``: its words, or classes of words such as years and relatives. Looking one up
costs one dictionary access for each word of the sentence. It knows nothing of scope (``scopes``).
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from clinical_coding.documentation.assertions import Assertion
from clinical_coding.settings_file import load_settings

__all__ = ["Cue", "FoundCue", "Reach", "Role", "Token", "find_cues", "is_relative", "tokenise"]


class Role(StrEnum):
    """What a cue does to the words around it."""

    BEFORE = "before"
    """It stands before what it speaks of."""
    AFTER = "after"
    TERMINATOR = "terminator"
    """It ends the reach of others."""
    PSEUDO = "pseudo"
    """It looks like a cue and is none."""


class Reach(StrEnum):
    """How far a cue reaches."""

    CLAUSE = "clause"
    ITEM = "item"
    """To the next comma."""
    NEAR = "near"
    """Over a few words."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a punctuation mark, in small letters, with its character offsets."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Cue:
    """A phrase and what it means."""

    elements: tuple[str, ...]
    """Words, and names of classes in braces."""
    role: Role
    reach: Reach
    assertions: frozenset[Assertion]
    """What it asserts; of a terminator, the assertions whose reach it ends."""


@dataclass(frozen=True, slots=True)
class FoundCue:
    """A cue in a sentence, as token numbers."""

    cue: Cue
    start: int
    end: int


class _Forms(BaseModel):
    """The cues of one assertion, by where they stand and how far they reach."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: tuple[str, ...] = ()
    before_item: tuple[str, ...] = ()
    before_near: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    after_item: tuple[str, ...] = ()


class _Terminators(BaseModel):
    """Phrases that end the reach of all cues, or of those of one assertion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    all: tuple[str, ...]
    negated: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    historical: tuple[str, ...] = ()
    family: tuple[str, ...] = ()


class _Cues(BaseModel):
    """The content of ``cues.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    negated: _Forms
    uncertain: _Forms
    historical: _Forms
    family: _Forms
    hypothetical: _Forms
    pseudo: tuple[str, ...]
    terminators: _Terminators
    classes: dict[str, tuple[str, ...]]


_CUED: Final = (
    Assertion.NEGATED,
    Assertion.UNCERTAIN,
    Assertion.HISTORICAL,
    Assertion.FAMILY,
    Assertion.HYPOTHETICAL,
)
_FORMS: Final = (
    ("before", Role.BEFORE, Reach.CLAUSE),
    ("before_item", Role.BEFORE, Reach.ITEM),
    ("before_near", Role.BEFORE, Reach.NEAR),
    ("after", Role.AFTER, Reach.CLAUSE),
    ("after_item", Role.AFTER, Reach.ITEM),
)
_MAX_KEPT_WORDS: Final = 50_000
"""How many distinct words are remembered with their classes."""
_START: Final = "{start}"
_END: Final = "{end}"

_TOKEN = re.compile(r"\w+(?:['\u2019]\w+)?|[^\w\s]")
_ELEMENT = re.compile(r"\{\w+\}|\w+(?:['\u2019]\w+)?|[^\w\s]")
_SHAPES: Final = (
    ("{number}", re.compile(r"\d{1,3}")),
    ("{year}", re.compile(r"(?:19|20)\d\d")),
    ("{decade}", re.compile(r"(?:19|20)?\d0s")),
    ("{participle}", re.compile(r"[a-z]{2,}ed|[a-z]+wn|had")),
)


class _Lexicon:
    """The cues by the word, or class, that they begin with; longest first."""

    __slots__ = ("_by_word", "_classes", "_first", "_start")

    def __init__(self, cues: list[Cue], classes: dict[str, tuple[str, ...]]) -> None:
        by_word: dict[str, set[str]] = defaultdict(set)
        for name, words in classes.items():
            for word in words:
                by_word[word].add(f"{{{name}}}")
        self._by_word = {word: frozenset(names) for word, names in by_word.items()}
        self._classes: dict[str, frozenset[str]] = {}
        first: dict[str, list[Cue]] = defaultdict(list)
        start: list[Cue] = []
        for cue in sorted(cues, key=lambda cue: -len(cue.elements)):
            (start if cue.elements[0] == _START else first[cue.elements[0]]).append(cue)
        self._first = dict(first)
        self._start = start

    def names(self, word: str) -> frozenset[str]:
        """What a cue can call a word: itself, and its classes."""
        found = self._classes.get(word)
        if found is None:
            shapes = {name for name, shape in _SHAPES if shape.fullmatch(word)}
            listed = self._by_word.get(word, frozenset()) | self._by_word.get(word.removesuffix("'s"), frozenset())
            found = frozenset({word} | shapes | listed)
            if word.isalpha() and len(self._classes) < _MAX_KEPT_WORDS:
                self._classes[word] = found
        return found

    def beginning_at(self, index: int, names: list[frozenset[str]]) -> list[Cue]:
        """The cues that could begin at a token, longest first."""
        found = [cue for name in names[index] for cue in self._first.get(name, ())]
        if len(names[index]) > 1:
            found.sort(key=lambda cue: -len(cue.elements))
        return found

    def at_start(self) -> list[Cue]:
        """The cues that stand at the start of a sentence only."""
        return self._start


def tokenise(text: str, start: int, end: int) -> list[Token]:
    """Cut a stretch of text into words and punctuation marks; offsets are those of the text."""
    return [
        Token(match.group().lower().replace("\u2019", "'"), match.start(), match.end())
        for match in _TOKEN.finditer(text, start, end)
    ]


def is_relative(word: str) -> bool:
    """Tell whether a word names a relative: ``mother``, ``Aunt``, ``father's``."""
    return "{relative}" in _lexicon().names(word.lower().replace("\u2019", "'"))


def _elements(phrase: str) -> tuple[str, ...]:
    return tuple(_ELEMENT.findall(phrase))


def _all_cues(cues: _Cues) -> list[Cue]:
    found = []
    for assertion in _CUED:
        for form, role, reach in _FORMS:
            phrases: tuple[str, ...] = getattr(getattr(cues, assertion.value), form)
            found += [Cue(_elements(phrase), role, reach, frozenset({assertion})) for phrase in phrases]
        ending: tuple[str, ...] = getattr(cues.terminators, assertion.value, ())
        found += [Cue(_elements(phrase), Role.TERMINATOR, Reach.CLAUSE, frozenset({assertion})) for phrase in ending]
    everything = frozenset(_CUED)
    found += [Cue(_elements(phrase), Role.TERMINATOR, Reach.CLAUSE, everything) for phrase in cues.terminators.all]
    found += [Cue(_elements(phrase), Role.PSEUDO, Reach.CLAUSE, frozenset()) for phrase in cues.pseudo]
    return found


@cache
def _lexicon() -> _Lexicon:
    cues = load_settings(Path(__file__).with_name("cues.yaml"), _Cues)
    return _Lexicon(_all_cues(cues), cues.classes)


def _length_at(elements: tuple[str, ...], names: list[frozenset[str]], tokens: list[Token], index: int) -> int:
    """Count the tokens that a cue takes up when it begins at a token; 0 when it does not."""
    at = index
    for element in elements:
        if element == _END:
            if at < len(tokens) and tokens[at].text[0].isalnum():
                return 0
        elif at >= len(tokens) or element not in names[at]:
            return 0
        else:
            at += 1
    return at - index


def _longest(
    candidates: list[Cue], names: list[frozenset[str]], tokens: list[Token], index: int
) -> tuple[list[Cue], int]:
    """The longest cues that stand at a token (one phrase can be several cues), and their length in tokens."""
    best: list[Cue] = []
    length = 0
    for cue in candidates:
        if best and cue.elements != best[0].elements:
            if len(cue.elements) < length:
                break
            continue
        taken = _length_at(cue.elements, names, tokens, index)
        if taken:
            best.append(cue)
            length = taken
    return best, length


def find_cues(tokens: list[Token], *, before_year: int | None) -> list[FoundCue]:
    """Find the cues of a sentence, none within another.

    Args:
        tokens: Of the sentence.
        before_year: Years before it are past; null when any year is.

    Returns:
        In the order of the text.
    """
    lexicon = _lexicon()
    names = [lexicon.names(token.text) for token in tokens]
    if any("{year}" in name for name in names):
        names = [
            name | {"{past_year}"}
            if "{year}" in name and (before_year is None or int(token.text) < before_year)
            else name
            for name, token in zip(names, tokens, strict=True)
        ]
    found: list[FoundCue] = []
    index = 0
    while index < len(tokens):
        candidates = lexicon.beginning_at(index, names)
        cues, length = _longest(candidates, names, tokens, index) if candidates else ([], 0)
        if index == 0:
            opening = [
                (cue, taken)
                for cue in lexicon.at_start()
                if (taken := _length_at(cue.elements[1:], names, tokens, 0)) > length
            ]
            if opening:
                cues, length = [opening[0][0]], opening[0][1]
        found += [FoundCue(cue, index, index + length) for cue in cues]
        index += max(length, 1)
    return found
