"""HCPCS Level II as CMS publishes it: the ANWEB text of 320 columns, or the same records as a workbook.

Columns (CMS, HCPC record layout, "HCPCS Contractor Record", counted from 1): 1-5 code (a modifier in 4-5), 6-10
sequence number, 11 record identification (3 first line of a procedure, 4 a further line of its description, 7 first
line of a modifier, 8 a further line), 12-91 long description, 92-119 short description, 269-276 date added, 277-284
date on which the action took effect, 285-292 date of termination ("last date for which a procedure or modifier code
may be used"), 293 action code. Dates are YYYYMMDD; further lines carry the description alone.
A text that is cut within a record is refused. One that is cut between two records looks whole, even where the next
would have gone on with a description: nothing in a record tells how many follow, so that the count alone tells it.
Workbook headings: HCPC, SEQNUM, RECID, LONG DESCRIPTION, SHORT DESCRIPTION, ..., ADD DT, ACT EFF DT, TERM DT.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from clinical_coding.code_systems.code_table import CodeRow
from clinical_coding.code_systems.official.sheets import find_sheet, read_day
from clinical_coding.code_systems.official.sources import Source

__all__ = ["HcpcsFile", "is_hcpcs_file", "read_hcpcs_file"]

_BEGINNING: Final = re.compile(r"(?:[A-Z]\d{4}| {3}[0-9A-Z]{2})\d{5}[3478]")
_CODE: Final = re.compile(r"[A-Z]\d{4}")
_FIRST: Final = frozenset("37")
_PROCEDURE: Final = frozenset("34")
_COLUMNS: Final = {
    "code": r"hcpcs?( code)?$",
    "sequence": r"seqnum",
    "kind": r"recid",
    "long": r"long desc",
    "short": r"short desc",
    "added": r"add d",
    "acted": r"act eff d",
    "ended": r"term d",
}
_WIDTH: Final = 320
_ACTION: Final = 293
"""Column of the action code, which every first line has; beyond it, a file may leave spaces out."""


@dataclass(frozen=True, slots=True)
class HcpcsFile:
    """What the file holds."""

    codes: list[CodeRow]
    num_modifiers: int
    """Modifiers are counted only: codes are checked against the list, modifiers by the pair edits."""
    newest: date | None
    """The latest day on which anything in it took or takes effect."""


@dataclass(frozen=True, slots=True)
class _Record:
    line: int
    code: str
    kind: str
    description: str
    dates: tuple[str, str, str] = ("", "", "")
    """Added, action effective, terminated."""


def is_hcpcs_file(source: Source) -> bool:
    """Tell the layout by its first record, or a workbook by its headings."""
    if source.suffix == ".xlsx":
        return find_sheet(source, _COLUMNS, optional=("short",)) is not None
    return _BEGINNING.match(source.body[:11].decode("ascii", errors="replace")) is not None


def read_hcpcs_file(source: Source) -> HcpcsFile:
    """Read all records.

    Raises:
        ValueError: A record is cut short, a description goes on that never began, a code stands there twice, or a
            date is none; the message names the line.
    """
    records = _workbook_records(source) if source.suffix == ".xlsx" else _text_records(source)
    codes: dict[str, CodeRow] = {}
    lines: dict[str, int] = {}
    newest: date | None = None
    current: _Record | None = None
    for record in records:
        if record.kind in _FIRST:
            if record.code in lines:
                raise source.fault(record.line, f"code {record.code} stood in line {lines[record.code]} before")
            lines[record.code] = record.line
            current = record
        elif current is None or record.code != current.code:
            raise source.fault(record.line, f"the description of {record.code} goes on, but its first line is missing")
        else:
            current = replace(current, description=f"{current.description} {record.description}".strip())
        if record.kind in _PROCEDURE:
            codes[current.code] = row = _row(source, current)
            newest = max((day for day in (newest, row.starts, row.changed) if day is not None), default=None)
    if not codes:
        raise ValueError(f"{source.name} holds no code; fetch the file anew")
    return HcpcsFile(list(codes.values()), len(lines) - len(codes), newest)


def _row(source: Source, record: _Record) -> CodeRow:
    if not _CODE.fullmatch(record.code):
        raise source.fault(record.line, f"{record.code!r} is not a HCPCS code; expected a letter and four digits")
    if not record.description:
        raise source.fault(record.line, f"code {record.code} has no description")
    starts, changed, ends = (_day(source, record, text) for text in record.dates)
    return CodeRow(record.code, record.description, starts=starts, ends=ends, changed=changed)


def _day(source: Source, record: _Record, text: str) -> date | None:
    day = read_day(text) if text else None
    if text and day is None:
        raise source.fault(record.line, f"code {record.code} has the date {text!r}; expected YYYYMMDD")
    return day


def _text_records(source: Source) -> Iterator[_Record]:
    least = 0
    for number, line in source.lines():
        if not line.strip():
            continue
        # Where the first record is of full width, all are: spaces at the end were left in.
        least = least or (_WIDTH if len(line) >= _WIDTH else _ACTION)
        if not _BEGINNING.match(line):
            raise source.fault(number, "not a record of HCPCS: code in columns 1-5, sequence in 6-10, kind in 11")
        kind = line[10]
        # Columns are counted in characters; a file that pads by bytes has fewer of them beside an accent.
        if (kind in _FIRST or least == _WIDTH) and len(line.encode()) < least:
            raise source.fault(number, f"the record ends at column {len(line)} of {_WIDTH}, so that it is cut short")
        dates = (line[268:276].strip(), line[276:284].strip(), line[284:292].strip())
        yield _Record(number, line[:5].strip(), kind, " ".join(line[11:91].split()), dates)
    source.check_end()


def _workbook_records(source: Source) -> Iterator[_Record]:
    sheet = find_sheet(source, _COLUMNS, optional=("short",))
    assert sheet is not None, "the layout was told by its headings"
    for row in sheet.rows():
        cells = row.cells
        if not cells["code"] and not cells["kind"]:
            continue
        if cells["kind"] not in {"3", "4", "7", "8"}:
            raise source.fault(row.line, f"RECID {cells['kind']!r} is unknown; expected 3, 4, 7 or 8")
        dates = (cells["added"], cells["acted"], cells["ended"])
        yield _Record(row.line, cells["code"].upper(), cells["kind"], " ".join(cells["long"].split()), dates)
