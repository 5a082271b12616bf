"""Phrases: finds the terms of all rules in a note in one pass over its words.

A term is words, in their order. ``fever*`` stands for any word that begins so, and ``..`` between two words for
up to three words more, none of them a negation. A term never runs over the end of a sentence. Whether what was
found is affirmed or negated is ``documentation``'s business.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["PhraseIndex"]

_WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+(?:[.,]\d+)*")
_TERM_WORD: Final = re.compile(r"\.\.|(?:[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+(?:[.,]\d+)*)\*?")
_MAX_SKIPPED_WORDS: Final = 3
_GAP: Final = ".."
# What these words separate is not one thing: "chest film without infiltrate".
_NEVER_SKIPPED: Final = frozenset({"but", "denied", "denies", "negative", "no", "not", "without"})


@dataclass(frozen=True, slots=True)
class _Step:
    """One word of a term."""

    word: str
    is_prefix: bool
    max_skipped: int
    """How many words may stand before it."""

    def fits(self, word: str) -> bool:
        return word.startswith(self.word) if self.is_prefix else word == self.word


@dataclass(frozen=True, slots=True)
class _Words:
    """A note as words with their offsets."""

    text: str
    words: Sequence[str]
    starts: Sequence[int]
    ends: Sequence[int]

    def joined(self, before: int, after: int) -> bool:
        """Whether no sentence ends between two words that follow each other."""
        between = self.text[self.ends[before] : self.starts[after]]
        if between in (" ", "-", "/", ", "):
            return True
        if any(mark in between for mark in ".;!?"):
            return False
        # A line break alone is where a long line was broken; with a bullet or an empty line, an item ends.
        return "\n" not in between or (not between.strip() and between.count("\n") == 1)


class PhraseIndex:
    """Terms, filed by their first word."""

    def __init__(self, terms: Iterable[str]) -> None:
        self._by_word: dict[str, list[tuple[str, tuple[_Step, ...]]]] = defaultdict(list)
        self._by_prefix: dict[str, list[tuple[str, tuple[_Step, ...]]]] = defaultdict(list)
        for term in dict.fromkeys(terms):
            first, *rest = _steps(term)
            filed = self._by_prefix if first.is_prefix else self._by_word
            filed[first.word].append((term, tuple(rest)))
        self._prefix_lengths = sorted({len(prefix) for prefix in self._by_prefix})

    def find(self, text: str) -> Mapping[str, tuple[tuple[int, int], ...]]:
        """Where each term stands in a text.

        Args:
            text: A note.

        Returns:
            By term, the character offsets of its occurrences in reading order; terms without one are left out.
        """
        matches = list(_WORD.finditer(text))
        read = _Words(
            text,
            [match.group().lower() for match in matches],
            [match.start() for match in matches],
            [match.end() for match in matches],
        )
        filed = self._filed_under(set(read.words))
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for position, word in enumerate(read.words):
            for term, rest in filed.get(word, ()):
                last = _follow(read, position, rest)
                if last is not None:
                    found[term].append((read.starts[position], read.ends[last]))
        return {term: tuple(spans) for term, spans in found.items()}

    def _filed_under(self, words: set[str]) -> Mapping[str, Sequence[tuple[str, tuple[_Step, ...]]]]:
        """By word, the terms that may begin with it; words without any are left out."""
        filed: dict[str, list[tuple[str, tuple[_Step, ...]]]] = {
            word: list(self._by_word[word]) for word in words & self._by_word.keys()
        }
        for length in self._prefix_lengths:
            for word in words:
                terms = self._by_prefix.get(word[:length])
                if terms and len(word) >= length:
                    filed.setdefault(word, []).extend(terms)
        return filed


def _follow(read: _Words, position: int, rest: tuple[_Step, ...]) -> int | None:
    """The position of a term's last word, its first standing at ``position``; none where the rest does not follow."""
    if not rest:
        return position
    step, *after = rest
    for following in range(position + 1, min(position + 2 + step.max_skipped, len(read.words))):
        if not read.joined(following - 1, following):
            return None
        if step.fits(read.words[following]):
            last = _follow(read, following, tuple(after))
            if last is not None:
                return last
        if read.words[following] in _NEVER_SKIPPED:
            return None
    return None


def _steps(term: str) -> Iterator[_Step]:
    parts = _TERM_WORD.findall(term)
    if not parts or _GAP in (parts[0], parts[-1]):
        raise ValueError(f"term {term!r} must begin and end with a word; write words, word*, or .. between two words")
    max_skipped = 0
    for part in parts:
        if part == _GAP:
            max_skipped = _MAX_SKIPPED_WORDS
            continue
        yield _Step(part.rstrip("*").lower(), part.endswith("*"), max_skipped)
        max_skipped = 0
