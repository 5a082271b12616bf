"""One release as columns: what is parsed once in two seconds, and read from a cache in a tenth of one.

Texts of a column are kept as one string, a line each, and split when first asked for; row numbers
stand for codes. The cache is named by the hash of the official files that it was made from, so a
changed file or another release never meets another's columns.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypedDict

from clinical_coding.artefact import publish, sha256_of_file
from clinical_coding.tabular.note_lines import PROSE, Reading, read_lines
from clinical_coding.tabular.official_files import (
    Division,
    PrintedNote,
    TabularList,
    read_code_list,
    read_tabular_list,
)
from clinical_coding.tabular.references import ReferenceReader
from clinical_coding.tabular.tree import CodeTree

__all__ = ["Columns", "load_columns"]

logger = logging.getLogger(__name__)

_CACHE_FORMAT: Final = 3
"""To be raised with every change of the columns, or of what is read from the same files."""


class Columns(TypedDict):
    """A release in the form that the cache holds. Rows are codes in tabular order."""

    codes: str
    parents: list[int]
    """Row of the next entry up; -1 for a category."""
    stops: list[int]
    """One past the last row below a row."""
    titles: str
    """Empty where a 7th character makes the code."""
    terms: dict[str, list[str]]
    """Inclusion terms by row."""
    extensions: list[dict[str, str]]
    """Definitions of 7th characters: words by character."""
    extended: dict[str, int]
    """Which definition makes the codes below a row."""
    chapters: list[tuple[str, str, int, int]]
    """Number, title, rows."""
    blocks: list[tuple[str, str, int, int]]
    """Name, title, rows."""
    note_heads: list[tuple[str, str, int, int]]
    """Kind, owner, rows that the note holds for."""
    note_lines: str
    """All printed lines of all notes."""
    note_readings: list[list[int]]
    """Three numbers a line: its reference set, or -1; its heading's index, or -1; 1 where it is a heading."""
    references: list[list[int]]
    """Reference sets: starts and stops of rows in turn."""


def load_columns(tabular_xml: Path, code_list: Path) -> Columns:
    """Read a release from the user's cache where it is whole, else from the official files.

    Args:
        tabular_xml: The tabular list.
        code_list: The CMS order file, or one undotted code a line.

    Raises:
        ValueError: A file is not what it should be, or the two are of different releases.
    """
    path = _cache_path(tabular_xml, code_list)
    columns = _read_cache(path)
    if columns is None:
        columns = _parse(tabular_xml, code_list)
        try:
            _write_cache(columns, path=path)
        except OSError as error:
            logger.warning("the code library cannot be cached, every start parses it anew: %s", error.strerror)
    return columns


def _cache_path(tabular_xml: Path, code_list: Path) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    sources = sha256_of_file(tabular_xml) + sha256_of_file(code_list)
    digest = hashlib.sha256(sources.encode()).hexdigest()
    return Path(base) / "chartloop" / f"icd10cm-{digest[:16]}-format{_CACHE_FORMAT}.json"


def _read_cache(path: Path) -> Columns | None:
    """Read the cached columns; none when the file is absent or not what was written."""
    try:
        digest, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(body).hexdigest().encode() != digest:
        logger.warning("the cached code library %s is damaged and is built anew", path.name)
        return None
    columns: Columns = json.loads(body)
    return columns


def _write_cache(columns: Columns, *, path: Path) -> None:
    body = json.dumps(columns, separators=(",", ":"), ensure_ascii=False)
    with publish(path) as stream:
        stream.write(hashlib.sha256(body.encode()).hexdigest() + "\n" + body)


def _parse(tabular_xml: Path, code_list: Path) -> Columns:
    tabular = read_tabular_list(tabular_xml, read_code_list(code_list))
    # A note that starts where another does and reaches farther comes first: chapter, block, category.
    notes = sorted(tabular.notes, key=lambda note: (note.start, -note.stop))
    references, readings = _read_notes(notes, tabular)
    return Columns(
        codes="\n".join(tabular.codes),
        parents=tabular.parents,
        stops=tabular.stops,
        titles="\n".join(map(_one_line, tabular.titles)),
        terms={str(row): terms for row, terms in tabular.terms.items()},
        extensions=tabular.extensions,
        extended={str(row): definition for row, definition in tabular.extended.items()},
        chapters=_divisions(tabular.chapters),
        blocks=_divisions(tabular.blocks),
        note_heads=[(note.kind.value, note.owner, note.start, note.stop) for note in notes],
        note_lines="\n".join(_one_line(line) for note in notes for line in note.lines),
        note_readings=[
            [number for reading in lines for number in (reading.references, reading.heading, int(reading.is_heading))]
            for lines in readings
        ],
        references=references,
    )


def _read_notes(notes: Sequence[PrintedNote], tabular: TabularList) -> tuple[list[list[int]], list[list[Reading]]]:
    """Read all notes; equal sets of references are kept once."""
    reader = _reference_reader(tabular)
    numbers: dict[tuple[int, ...], int] = {}

    def number_of(line: str) -> int:
        flat = tuple(row for interval in reader.read(line) for row in interval)
        return numbers.setdefault(flat, len(numbers)) if flat else PROSE

    readings = [read_lines(note.lines, kind=note.kind, references=number_of) for note in notes]
    return [list(flat) for flat in numbers], readings


def _reference_reader(tabular: TabularList) -> ReferenceReader:
    def base_of(row: int) -> str:
        parent = tabular.parents[row]
        return tabular.codes[parent if parent in tabular.extended else row].replace(".", "").rstrip("X")

    def title_of(row: int) -> str:
        parent = tabular.parents[row]
        if parent not in tabular.extended:
            return tabular.titles[row]
        words = tabular.extensions[tabular.extended[parent]][tabular.codes[row][-1]]
        return f"{tabular.titles[parent]}, {words}"

    tree = CodeTree(tabular.codes, tabular.parents, tabular.stops)
    chapters = {chapter.name: (chapter.start, chapter.stop) for chapter in tabular.chapters}
    return ReferenceReader(tree, title_of=title_of, base_of=base_of, chapters=chapters)


def _divisions(divisions: Sequence[Division]) -> list[tuple[str, str, int, int]]:
    return [(division.name, division.title, division.start, division.stop) for division in divisions]


def _one_line(text: str) -> str:
    return text.replace("\n", " ")
