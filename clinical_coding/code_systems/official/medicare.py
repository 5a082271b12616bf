"""Medicare's tables: relative weights of MS-DRGs, pairs not paid together, most likely units.

Layouts, each with title lines above its heading, as text or workbook:

- CMS Table 5 of the IPPS final rule: MS-DRG, FY 2026 Final Post-Acute DRG, FY 2026 Final Special Pay DRG, MDC, TYPE,
  MS-DRG Title, Weights (since FY 2023: Weights - Before Cap, Weights - 10% Cap Applied; the capped one pays),
  Geometric mean LOS, Arithmetic mean LOS.
- NCCI PTP edits, a quarter in several files: Column 1, Column 2, *=in existence prior to 1996, Effective Date,
  Deletion Date *=no data, Modifier 0=not allowed 1=allowed 9=not applicable, PTP Edit Rationale; in workbooks the
  heading is broken over several lines.
- NCCI MUE table: HCPCS/CPT Code, Practitioner (or Facility Outpatient, DME Supplier) Services MUE Values, MUE
  Adjudication Indicator ("3 Date of Service Edit: Clinical"), MUE Rationale.

A text with a line of fewer cells than its heading is refused. One that is cut within a last cell or between two lines
looks whole, as does a quarter's pairs without one of their files: the count alone tells it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from clinical_coding.code_systems.official.sheets import Row, Sheet, find_sheet, read_day
from clinical_coding.code_systems.official.sources import Source
from clinical_coding.code_systems.payment_tables import Pair, UnitLimit

__all__ = ["DRG_WEIGHTS", "PAIRS", "UNITS", "Layout", "read_drg_weights", "read_pairs", "read_unit_limits"]

_Value = TypeVar("_Value")

_PROCEDURE: Final = re.compile(r"[0-9A-Z]\d{3}[0-9A-Z]")


@dataclass(frozen=True)
class Layout:
    """How a table's heading is found."""

    columns: Mapping[str, str]
    optional: tuple[str, ...] = ()

    def fits(self, source: Source) -> bool:
        """Tell whether a file has this heading."""
        return find_sheet(source, self.columns, optional=self.optional) is not None

    def sheet(self, source: Source) -> Sheet:
        """Find the table of a file that fits."""
        sheet = find_sheet(source, self.columns, optional=self.optional)
        assert sheet is not None, "the layout was told by its headings"
        return sheet


DRG_WEIGHTS: Final = Layout(
    {"drg": r"ms-?drg$", "title": r"ms-?drg title", "weight": r"weights?$|relative weights?$|weights? - .*cap applied"}
)
PAIRS: Final = Layout(
    {
        "column1": r"column ?1$",
        "column2": r"column ?2$",
        "effective": r"effective",
        "deleted": r"deletion",
        "modifier": r"modifier",
        "rationale": r"ptp edit rationale",
    },
    optional=("rationale",),
)
UNITS: Final = Layout(
    {
        "code": r"hcpcs/ ?cpt code",
        "units": r".*mue values?$",
        "indicator": r"mue adjudication indicator",
        "rationale": r"mue rationale",
    },
    optional=("rationale",),
)


def read_drg_weights(source: Source) -> dict[str, float]:
    """Read relative weights by MS-DRG, three digits; groups without a weight (998, 999) are left out.

    Raises:
        ValueError: A line has no weight where one is due, or a group stands there twice.
    """

    def read(row: Row) -> tuple[str, float | None]:
        drg, weight = row.cells["drg"].zfill(3), row.cells["weight"]
        if not re.fullmatch(r"\d{3}", drg):
            raise source.fault(row.line, f"{row.cells['drg'][:8]!r} is not an MS-DRG; expected three digits")
        _check_whole(source, row)
        if weight in {".", "-", "N/A"}:
            return drg, None
        if not re.fullmatch(r"\d+(\.\d+)?", weight):
            raise source.fault(row.line, f"MS-DRG {drg} has no weight; expected a number such as 1.2345")
        return drg, float(weight)

    # Footnotes follow the table: their first cell is prose, and nothing stands beside it.
    rows = (row for row in DRG_WEIGHTS.sheet(source).rows() if row.cells["weight"] or row.cells["title"])
    read_rows = _distinct(source, rows, read, what="MS-DRG")
    return {drg: weight for drg, weight in read_rows if weight}


def read_pairs(source: Source) -> Iterator[Pair]:
    """Read pairs, in the order of the file.

    Raises:
        ValueError: A line lacks a code, a date or the modifier indicator.
    """
    begun = False
    for row in PAIRS.sheet(source).rows():
        one, two = _code(row.cells["column1"]), _code(row.cells["column2"])
        is_pair = bool(_PROCEDURE.fullmatch(one) and _PROCEDURE.fullmatch(two))
        if not begun and not is_pair and not (one and two):
            # The rest of a heading that is broken over lines.
            continue
        begun = True
        effective, deleted = read_day(row.cells["effective"]), read_day(row.cells["deleted"])
        modifier = row.cells["modifier"]
        if not is_pair or effective is None or modifier not in {"0", "1", "9"}:
            raise source.fault(
                row.line, "not a pair edit: two codes, effective date, deletion date, modifier 0, 1 or 9"
            )
        if deleted is None and row.cells["deleted"] not in {"*", ""}:
            raise source.fault(
                row.line, f"deletion date {row.cells['deleted'][:12]!r}; expected YYYYMMDD, or * for none"
            )
        _check_whole(source, row)
        yield one, two, effective, deleted, int(modifier), row.cells.get("rationale", "")
    if not begun:
        raise ValueError(f"{source.name} holds no pair; fetch the file anew")


def read_unit_limits(source: Source) -> dict[str, UnitLimit]:
    """Read the most likely units by code.

    Raises:
        ValueError: A line lacks a code, a number of units or an indicator, or a code stands there twice.
    """

    def read(row: Row) -> tuple[str, UnitLimit]:
        code, units = _code(row.cells["code"]), row.cells["units"]
        indicator = row.cells["indicator"][:1]
        if not _PROCEDURE.fullmatch(code) or not units.isdecimal() or indicator not in {"1", "2", "3"}:
            raise source.fault(row.line, "not an MUE: expected a code, a number of units and an indicator 1, 2 or 3")
        _check_whole(source, row)
        return code, UnitLimit(int(units), int(indicator), row.cells.get("rationale", ""))

    return dict(_distinct(source, UNITS.sheet(source).rows(), read, what="code"))


def _check_whole(source: Source, row: Row) -> None:
    if not row.is_whole:
        raise source.fault(row.line, "the line has fewer cells than the heading, so that it is cut short")


def _code(text: str) -> str:
    """A code as it is usually written: a workbook keeps 00100 as the number 100."""
    return text.upper().zfill(5) if text else ""


def _distinct(
    source: Source, rows: Iterator[Row], read: Callable[[Row], tuple[str, _Value]], *, what: str
) -> Iterator[tuple[str, _Value]]:
    """Read rows whose first value must not come twice, and of which there must be one."""
    lines: dict[str, int] = {}
    for row in rows:
        key, value = read(row)
        if key in lines:
            raise source.fault(row.line, f"{what} {key} stood in line {lines[key]} before")
        lines[key] = row.line
        yield key, value
    if not lines:
        raise ValueError(f"{source.name} holds no {what}; fetch the file anew")
