"""The order file of ICD-10-CM and ICD-10-PCS: every heading and code in order, in columns of fixed width.

Columns (CMS, "ICD-10 order files", counted from 1): 1-5 order number, right-justified with zeros; 7-13 code without
dot; 15 one for a code that is valid for submission, nought for a heading; 17-76 short description; 78 to the end long
description.
A file that is cut within a line, after a heading, or within its order numbers is refused. One that is cut just after
the line of a valid code looks whole: only the tabular list, which holds the same codes, or the count of the release
before tells it.
"""

import re
from dataclasses import dataclass
from typing import Final

from clinical_coding.code_systems.code_table import CodeRow
from clinical_coding.code_systems.official.sources import Source

__all__ = ["OrderLine", "is_order_file", "procedure_rows", "read_order_file", "write_order_lines"]

_LINE: Final = re.compile(
    r"(?P<number>\d{5}) (?P<code>[0-9A-Z]{3,7}) {0,4} (?P<valid>[01]) (?P<short>.{60}) (?P<long>\S.*)"
)
_BEGINNING: Final = re.compile(r"\d{5} (?P<code>[0-9A-Z]{3,7}) {1,5}(?P<valid>[01]) ")
_HEAD: Final = 4096


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One line."""

    code: str
    """Without dot."""
    is_valid: bool
    description: str
    """The long one."""


def is_order_file(source: Source, *, icd10pcs: bool) -> bool:
    """Tell an order file, and whose, by its first lines.

    Args:
        source: The file.
        icd10pcs: True to look for procedures, whose codes all have seven characters; false for diagnoses, whose
            codes begin with a letter.
    """
    text = source.body[:_HEAD].decode("utf-8-sig", errors="replace")
    beginnings = [_BEGINNING.match(line) for line in text.split("\n") if line.strip()]
    if not beginnings or beginnings[0] is None:
        return False
    if not icd10pcs:
        return beginnings[0]["code"][0].isalpha()
    return all(found is None or found["valid"] == "0" or len(found["code"]) == 7 for found in beginnings)


def read_order_file(source: Source) -> list[OrderLine]:
    """Read all lines.

    Raises:
        ValueError: A line is cut short or in another layout, an order number is missing (lines were lost), a code
            stands there twice, the last heading has nothing below it, or the last line is not ended (the end was lost).
    """
    lines: list[OrderLine] = []
    seen: dict[str, int] = {}
    previous = -1
    for number, line in source.lines():
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.rstrip())
        if found is None:
            raise source.fault(number, "not a whole line of an order file (order number, code, 0 or 1, descriptions)")
        order, code = int(found["number"]), found["code"]
        if previous >= 0 and order != previous + 1:
            raise source.fault(number, f"order number {order:05} follows {previous:05}, so that lines are missing")
        if code in seen:
            raise source.fault(number, f"code {code} stood in line {seen[code]} before")
        previous, seen[code] = order, number
        lines.append(OrderLine(code, found["valid"] == "1", " ".join(found["long"].split())))
    if not lines:
        raise ValueError(f"{source.name} holds no code; fetch the file anew")
    if not lines[-1].is_valid:
        raise source.fault(
            seen[lines[-1].code], f"the file ends with the heading {lines[-1].code}, so that its end is missing"
        )
    source.check_end()
    return lines


def write_order_lines(lines: list[OrderLine]) -> bytes:
    """Write an order file anew, in UTF-8 and with plain line ends, whatever the original had."""
    rows = (
        f"{number:05} {line.code:<7} {line.is_valid:d} {line.description[:60]:<60} {line.description}\n"
        for number, line in enumerate(lines, start=1)
    )
    return "".join(rows).encode()


def procedure_rows(lines: list[OrderLine]) -> list[CodeRow]:
    """The codes and headings of ICD-10-PCS."""
    return [CodeRow(line.code, line.description, is_heading=not line.is_valid) for line in lines]
