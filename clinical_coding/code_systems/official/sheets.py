"""Tables with a header somewhere below their title: text with tabs or commas, or the first sheet of a workbook.

Columns are found by their heading, wherever they stand. Lines above the heading are kept, since titles tell the year.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from clinical_coding.code_systems.official.sources import Source

__all__ = ["Row", "Sheet", "find_sheet", "read_day"]

_SEARCHED_LINES: Final = 40
"""A heading lies within so many lines."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    line: int
    cells: dict[str, str]
    """By the name that the reader gave the column; without white space around."""
    is_whole: bool = True
    """False of a line of text that has fewer cells than the heading; workbooks leave empty cells out."""


@dataclass(frozen=True)
class Sheet:
    """A table whose heading was found."""

    source: Source
    title: str
    """All words above and in the heading."""
    _first_line: int
    _places: dict[str, int]
    _num_columns: int

    def rows(self) -> Iterator[Row]:
        """The lines below the heading, empty ones left out.

        Raises:
            ValueError: The file ends within a quoted cell.
        """
        is_text = self.source.suffix != ".xlsx"
        for line, cells in _lines(self.source):
            if line > self._first_line and any(cells):
                found = {name: cells[at] if at < len(cells) else "" for name, at in self._places.items()}
                yield Row(line, found, is_whole=not is_text or len(cells) >= self._num_columns)


def find_sheet(source: Source, columns: Mapping[str, str], *, optional: Sequence[str] = ()) -> Sheet | None:
    """Look for the heading of a table.

    Args:
        source: The file.
        columns: What each wanted column's heading begins with, as a regular expression on lower-case words with
            single spaces, by the name that is to stand for it. Of several columns that fit, the last is taken.
        optional: Names of columns that may be missing.

    Returns:
        Null when no line has all of the columns.
    """
    try:
        title: list[str] = []
        for line, cells in islice(_lines(source), _SEARCHED_LINES):
            headings = [re.sub(r"\s+", " ", cell.lower()) for cell in cells]
            title += cells
            places = {
                name: max(at for at, heading in enumerate(headings) if re.match(form, heading))
                for name, form in columns.items()
                if any(re.match(form, heading) for heading in headings)
            }
            if all(name in places or name in optional for name in columns):
                num_columns = max(at for at, heading in enumerate(headings, start=1) if heading)
                return Sheet(source, " ".join(title), line, places, num_columns)
    except ValueError:
        # What is no table at all has no heading; a damaged table is told when its rows are read.
        return None
    return None


@lru_cache(maxsize=4096)
def read_day(text: str) -> date | None:
    """Read a date in one of the forms of CMS's tables: 20260101, 2026-01-01, 1/1/2026; none when it is no date."""
    for form in ("%Y%m%d", "%Y-%m-%d", "%m/%d/%Y"):
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    return None


def _lines(source: Source) -> Iterator[tuple[int, list[str]]]:
    return _workbook_lines(source) if source.suffix == ".xlsx" else _text_lines(source)


def _text_lines(source: Source) -> Iterator[tuple[int, list[str]]]:
    text = source.text()
    # Commas stand within the descriptions of tables whose columns tabs divide.
    delimiter = "\t" if "\t" in text else ","
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise source.fault(reader.line_num, f"the table is broken or cut short ({error})") from None


def _workbook_lines(source: Source) -> Iterator[tuple[int, list[str]]]:
    try:
        import openpyxl
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "workbooks (.xlsx) are read with openpyxl, which is not installed; "
            'install it with: pip install "chartloop[clinical-coding]"'
        ) from None
    try:
        book = openpyxl.load_workbook(io.BytesIO(source.body), read_only=True, data_only=True)
        try:
            for line, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), start=1):
                yield line, [_cell(value) for value in cells]
        finally:
            book.close()
    except (zipfile.BadZipFile, KeyError, EOFError, OSError, IndexError) as error:
        raise ValueError(f"{source.name} is not a whole workbook ({error}); fetch it anew") from None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y%m%d}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
