"""Full-text search over the codes of one release: descriptions, inclusion terms, index terms.

The index is one file, made by SQLite's FTS5 and read through it: stems by Porter, candidates by BM25 with the
description weighing most, their order by how closely the query agrees with one title or term. It finds what the
words of the release hold; it knows no abbreviations and no synonyms beyond them.
A code that a 7th character makes is found as the code that it extends.
Source: https://www.sqlite.org/fts5.html (bm25 function, prefix queries, porter tokenizer).
"""

import logging
import os
import re
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clinical_coding.artefact import publish_path
from clinical_coding.code_library import CodeEntry, CodeLibrary
from clinical_coding.code_systems.code_table import CodeTable
from clinical_coding.code_systems.entries import all_entries

__all__ = ["Hit", "IndexedCode", "SearchIndex", "build_index", "cached_index", "entries_of_library", "entries_of_table"]

logger = logging.getLogger(__name__)

_FORMAT: Final = 1
_DESCRIPTION_WEIGHT: Final = 4.0
_TERMS_WEIGHT: Final = 2.0
_INDEX_WEIGHT: Final = 1.0
_CANDIDATES: Final = 150
"""Rows that BM25 picks and agreement puts in order."""
_COMMON: Final = 1500
"""A word of more codes than this is looked for only beside others: ranking all that have it costs the most time."""
_TERM_SHARE: Final = 0.95
"""A term counts a little less than the title: of two codes that agree as well, the one so titled is first."""
_LEAF_BONUS: Final = 0.05
_SEPARATOR: Final = "\n"
_WORD: Final = re.compile(r"[^\W_]+")
# Words that nearly every description has: they rank nothing, and their long lists cost the most time.
_STOP: Final = frozenset(
    {"a", "an", "and", "at", "by", "due", "for", "from", "in", "of", "on", "or", "the", "to", "with", "without"}
)
_PLAIN: Final = frozenset({"nos", "unspec"})
"""Stems that make a title no farther from a query that leaves them out."""
_CODE_LIKE: Final = re.compile(r"[A-Za-z]?\d[\w.]*")
_DOTTED: Final = re.compile(r"[A-Za-z]\w\w\.\w*")


@dataclass(frozen=True, slots=True)
class IndexedCode:
    """What is found of a code."""

    code: str
    description: str
    terms: tuple[str, ...]
    """Inclusion terms."""
    index_terms: tuple[str, ...]
    """Terms of the Alphabetic Index that lead to it."""
    is_leaf: bool


@dataclass(frozen=True, slots=True)
class Hit:
    """One code found."""

    code: str
    description: str
    is_leaf: bool
    score: float
    """Agreement of the query with title or term, higher is better; infinite for codes found by their number."""


class SearchIndex:
    """A built index, open for questions; safe among threads."""

    def __init__(self, path: Path, *, remedy: str = "remove it, it is made anew") -> None:
        """Take an index file; it is opened when first asked.

        Args:
            path: The file.
            remedy: What to do where it is damaged, for whoever reads the message.
        """
        self._path = path
        self._remedy = remedy
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._common: frozenset[str] = frozenset()

    def search(self, words: str, *, limit: int = 10) -> tuple[Hit, ...]:
        """Find codes by words, or by the beginning of their number.

        Args:
            words: ``type 2 diabetes with kidney complication``; the last word may be cut short. ``I21.4`` and
                ``i214`` find the code and those below it.
            limit: How many hits at most.

        Returns:
            Best first. Codes that hold every word come before those that hold some.

        Raises:
            ValueError: The index is damaged, or ``limit`` is below 1.
        """
        if limit < 1:
            raise ValueError(f"limit {limit} must be 1 or more; leave it out for 10")
        try:
            with self._lock:
                hits = self._by_number(words, limit)
                # What has an ICD-10-CM code's dot is meant as a code, and has no words to look for.
                return hits if hits or _DOTTED.fullmatch(words.strip()) else self._by_words(words, limit)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"search index {self._path} cannot be read ({error}); {self._remedy}") from None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # Nobody writes to a published index, so that no lock is taken and none is waited for.
            uri = f"{self._path.absolute().as_uri()}?mode=ro&immutable=1"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            self._common = frozenset(word for (word,) in self._connection.execute("SELECT word FROM common"))
        return self._connection

    def _by_number(self, words: str, limit: int) -> tuple[Hit, ...]:
        number = words.strip()
        if not _CODE_LIKE.fullmatch(number):
            return ()
        plain = number.replace(".", "").upper()
        query = "SELECT code, description, is_leaf FROM codes WHERE plain >= ? AND plain < ? ORDER BY plain LIMIT ?"
        rows = self._open().execute(query, (plain, plain + "\x7f", limit))
        return tuple(Hit(code, description, bool(is_leaf), float("inf")) for code, description, is_leaf in rows)

    def _by_words(self, words: str, limit: int) -> tuple[Hit, ...]:
        found = [word.lower() for word in _WORD.findall(words)]
        terms = [word for word in found if word not in _STOP] or found
        if not terms:
            return ()
        # The last word is perhaps still being typed.
        last = f'("{terms[-1]}" OR "{terms[-1]}"*)' if len(terms[-1]) > 2 else f'"{terms[-1]}"'
        quoted = [*(f'"{term}"' for term in terms[:-1]), last]
        hits = self._match(" AND ".join(quoted), terms, limit)
        for some in self._fewer(terms, quoted):
            if len(hits) >= limit:
                break
            known = {hit.code for hit in hits}
            hits += [hit for hit in self._match(some, terms, limit) if hit.code not in known]
        return tuple(hits[:limit])

    def _fewer(self, terms: list[str], quoted: list[str]) -> Iterator[str]:
        """All words but one, then any of them; of words that thousands of codes have, none where others are given."""
        if len(quoted) > 2:
            yield " OR ".join(
                "(" + " AND ".join(quoted[:left] + quoted[left + 1 :]) + ")" for left in range(len(quoted))
            )
        if len(quoted) > 1:
            telling = [form for term, form in zip(terms, quoted, strict=True) if term not in self._common]
            yield " OR ".join(telling or quoted)

    def _match(self, expression: str, terms: list[str], limit: int) -> list[Hit]:
        """The codes that an expression finds: picked by BM25, put in order by how closely a title or term agrees."""
        query = (
            "SELECT codes.code, codes.description, codes.terms, codes.is_leaf FROM ("
            "SELECT rowid, bm25(words, ?, ?, ?) AS score FROM words WHERE words MATCH ? ORDER BY score LIMIT ?"
            ") AS ranked JOIN codes ON codes.rowid = ranked.rowid ORDER BY ranked.score, codes.rowid"
        )
        weights = (_DESCRIPTION_WEIGHT, _TERMS_WEIGHT, _INDEX_WEIGHT)
        rows = self._open().execute(query, (*weights, expression, max(_CANDIDATES, limit)))
        wanted = frozenset(map(_stem, terms))
        hits = [
            Hit(code, description, bool(is_leaf), _agreement(wanted, description, words, is_leaf=bool(is_leaf)))
            for code, description, words, is_leaf in rows
        ]
        # Stable: equals stay in the order of BM25.
        return sorted(hits, key=lambda hit: -hit.score)


def _stem(word: str) -> str:
    """What a word shares with its other forms, near enough to compare a query of a few words with a title."""
    return word[:6]


def _agreement(wanted: frozenset[str], description: str, terms: str, *, is_leaf: bool) -> float:
    """The Dice coefficient of the query and the best of a code's title and terms; a leaf goes before its heading."""
    best = 0.0
    for place, text in enumerate((description, *terms.split(_SEPARATOR))):
        words = {_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP} - (_PLAIN - wanted)
        if words:
            share = 2 * len(wanted & words) / (len(wanted) + len(words))
            best = max(best, share if place == 0 else share * _TERM_SHARE)
    return best + _LEAF_BONUS * is_leaf


def build_index(entries: Iterable[IndexedCode], *, path: Path) -> None:
    """Write an index file.

    Args:
        entries: The codes, in the order in which equals are shown.
        path: A file that holds nothing yet.
    """
    connection = sqlite3.connect(path)
    try:
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE codes (code TEXT, plain TEXT, description TEXT, terms TEXT, is_leaf INTEGER);"
            "CREATE VIRTUAL TABLE words USING fts5("
            "description, terms, index_terms, content = '',"
            "tokenize = 'porter unicode61 remove_diacritics 2');"
            "CREATE TABLE common (word TEXT);"
        )
        num_codes: Counter[str] = Counter()
        for row, entry in enumerate(entries, start=1):
            plain, terms = entry.code.replace(".", ""), _SEPARATOR.join((*entry.terms, *entry.index_terms))
            connection.execute(
                "INSERT INTO codes (rowid, code, plain, description, terms, is_leaf) VALUES (?, ?, ?, ?, ?, ?)",
                (row, entry.code, plain, entry.description, terms, entry.is_leaf),
            )
            connection.execute(
                "INSERT INTO words (rowid, description, terms, index_terms) VALUES (?, ?, ?, ?)",
                (row, entry.description, _SEPARATOR.join(entry.terms), _SEPARATOR.join(entry.index_terms)),
            )
            num_codes.update(set(_WORD.findall(f"{entry.description} {terms}".lower())))
        common = [(word,) for word, number in num_codes.items() if number > _COMMON]
        connection.executemany("INSERT INTO common (word) VALUES (?)", common)
        connection.executescript(
            "CREATE INDEX by_number ON codes (plain); INSERT INTO words (words) VALUES ('optimize');"
        )
        connection.commit()
    finally:
        connection.close()


def cached_index(name: str, entries: Callable[[], Iterable[IndexedCode]]) -> SearchIndex:
    """Open an index of the user's cache folder, made where it is missing.

    Args:
        name: Tells the content: another content has another name.
        entries: Gives the codes when the index must be made.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = base / "chartloop" / f"search-{name}-format{_FORMAT}.db"
    if path.is_file():
        return SearchIndex(path)
    try:
        with publish_path(path) as aside:
            build_index(entries(), path=aside)
    except OSError as error:
        logger.warning("the search index cannot be cached, every start makes it anew: %s", error.strerror)
        path = Path(tempfile.mkdtemp(prefix="chartloop-")) / "search.db"
        build_index(entries(), path=path)
    return SearchIndex(path)


def entries_of_library(
    library: CodeLibrary, *, index_terms: dict[str, tuple[str, ...]] | None = None
) -> Iterator[IndexedCode]:
    """The codes of ICD-10-CM with their terms, in tabular order.

    Args:
        library: Of the release.
        index_terms: Terms of the Alphabetic Index by code, where it was imported.
    """
    terms_of = index_terms or {}
    for entry in all_entries(library):
        # Sixteen 7th characters of one fracture would fill every page.
        if not _is_extended(library, entry):
            yield IndexedCode(
                entry.code, entry.description, entry.inclusion_terms, terms_of.get(entry.code, ()), entry.is_leaf
            )


def _is_extended(library: CodeLibrary, entry: CodeEntry) -> bool:
    """Tell a code that a 7th character makes: its title is its parent's, a comma, and the character's."""
    parent = library.get(entry.parent) if entry.parent and len(entry.code) == len("S52.521A") else None
    return parent is not None and entry.description.startswith(f"{parent.description}, ")


def entries_of_table(table: CodeTable) -> Iterator[IndexedCode]:
    """The codes of a flat system that have a description, in the order of their file."""
    for row in table.rows.values():
        if row.description is not None:
            yield IndexedCode(row.code, row.description, (), (), not row.is_heading)
