"""CPT from the licensee's own file: the AMA's code lists, or a table with a heading. Never shipped with chartloop.

Two forms are read. A table, divided by tabs or commas, with the headings ``Code`` (or ``CPT Code``) and, where the
licence covers descriptors, ``Description`` (or ``Long``, ``Descriptor``). Or the AMA's consolidated lists (LONGULT.txt,
MEDU.txt, SHORTU.txt): after a notice, on each line a code, a tab or spaces, and the descriptor. Codes alone are read
too: numbers are then known, and shown without descriptors. A list that is cut looks whole: its count of codes alone
tells it.
"""

import re
from collections.abc import Iterator
from typing import Final

from clinical_coding.code_systems.code_table import CodeRow
from clinical_coding.code_systems.official.sheets import find_sheet
from clinical_coding.code_systems.official.sources import Source

__all__ = ["is_cpt_file", "read_cpt_file"]

_CODE: Final = re.compile(r"\d{4}[0-9FTUM]")
_LINE: Final = re.compile(r"(\d{4}[0-9FTUM])(?:[\t ]+(.*))?")
_COLUMNS: Final = {"code": r"(cpt )?code$|cpt$", "description": r"(long |full |cpt )?(description|descriptor)|long$"}


def is_cpt_file(source: Source) -> bool:
    """Tell a table by its headings, a list by a line that begins with a code."""
    if _sheet_fits(source):
        return True
    return source.suffix != ".xlsx" and any(_LINE.fullmatch(line.strip()) for _, line in source.lines())


def read_cpt_file(source: Source) -> list[CodeRow]:
    """Read all codes.

    Raises:
        ValueError: A line below the first code has none, or a code stands there twice; no descriptor is repeated.
    """
    rows: dict[str, CodeRow] = {}
    lines: dict[str, int] = {}
    for number, code, description in _table(source) if _sheet_fits(source) else _list(source):
        if not _CODE.fullmatch(code):
            raise source.fault(number, "no CPT code stands here; expected five characters such as 99214")
        if code in lines:
            raise source.fault(number, f"code {code} stood in line {lines[code]} before")
        lines[code] = number
        rows[code] = CodeRow(code, description or None)
    if not rows:
        raise ValueError(f"{source.name} holds no code; name the licensee's file of codes")
    return list(rows.values())


def _sheet_fits(source: Source) -> bool:
    return find_sheet(source, _COLUMNS, optional=("description",)) is not None


def _table(source: Source) -> Iterator[tuple[int, str, str]]:
    sheet = find_sheet(source, _COLUMNS, optional=("description",))
    assert sheet is not None, "the layout was told by its headings"
    for row in sheet.rows():
        code = row.cells["code"].upper()
        # A workbook keeps 00100 as the number 100.
        yield row.line, code.zfill(5) if code else "", " ".join(row.cells.get("description", "").split())


def _list(source: Source) -> Iterator[tuple[int, str, str]]:
    begun = False
    for number, line in source.lines():
        found = _LINE.fullmatch(line.strip())
        begun = begun or found is not None
        if begun and line.strip():
            yield number, found[1] if found else "", (found[2] or "").strip() if found else ""
