"""A comparison as one self-contained HTML page, for whoever approves or refuses a version (stage 11).

Forest plots are inline SVG, one small picture a row on one common scale; nothing is loaded from
elsewhere, and nothing but counts, proportions, hashes and code titles stands in it. The same
comparison gives the same page, byte for byte.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from clinical_coding.code_library import describe
from clinical_coding.comparisons import ChangedCode, Comparison, Difference
from governance.comparison import SMALL_RECORDS
from governance.verdict import HEADLINE_METRIC, METRIC_NAMES, direction, headline, name_of

__all__ = ["render"]

PLOT_WIDTH: Final = 260
"""Of a row's plot, in pixels; its scale is symmetric about 0."""
_SMALLEST_REACH: Final = 0.02
_STEPS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A row's place in the plot, in pixels from the left."""

    low: float
    at: float | None
    """Null when it lies beyond the scale."""
    high: float
    is_cut_low: bool
    """The interval goes on beyond the left edge."""
    is_cut_high: bool


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    row: Difference
    direction: str
    mark: _Mark


@dataclass(frozen=True, slots=True)
class _Group:
    title: str
    rows: tuple[_Row, ...]


@dataclass(frozen=True, slots=True)
class _Code:
    description: str
    code: ChangedCode


def render(comparison: Comparison) -> str:
    """Write the page.

    Args:
        comparison: Of two versions.

    Returns:
        The whole HTML document.
    """
    reach = _reach(comparison)
    place = _scale(reach)
    return (
        _environment()
        .get_template("comparison.html.j2")
        .render(
            comparison=comparison,
            headline=headline(comparison),
            direction=direction(comparison.overall(HEADLINE_METRIC)),
            headline_metric=METRIC_NAMES[HEADLINE_METRIC],
            name_a=name_of(comparison.a),
            name_b=name_of(comparison.b),
            groups=list(_groups(comparison, place=place, reach=reach)),
            ticks=[(place(tick), _minus(f"{tick:+.3g}") if tick else "0") for tick in _ticks(reach)],
            zero=place(0),
            width=PLOT_WIDTH,
            codes=[_Code(_description(code), code) for code in comparison.changed_codes],
            small_records=SMALL_RECORDS,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("governance"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"signed": _signed, "share": lambda value: f"{value:.3f}"}
    return environment


def _groups(comparison: Comparison, *, place: Callable[[float], float], reach: float) -> Iterator[_Group]:
    """All records by metric, then every dimension's slices by the headline's metric."""
    for dimension, members in groupby(comparison.differences, key=lambda row: row.dimension):
        if dimension is None:
            rows = [(METRIC_NAMES[row.metric], row) for row in members]
            title = "all encounters"
        else:
            rows = [(row.value or "", row) for row in members if row.metric == HEADLINE_METRIC]
            title = f"{METRIC_NAMES[HEADLINE_METRIC]} by {dimension}"
        yield _Group(title, tuple(_Row(name, row, direction(row), _mark(row, place, reach)) for name, row in rows))


def _reach(comparison: Comparison) -> float:
    """How far the scale goes: to the widest interval but those of small slices, which would squeeze all others."""
    shown = [row for row in comparison.differences if row.dimension is None or not row.is_small]
    return max(_SMALLEST_REACH, *(max(abs(row.low), abs(row.high)) for row in shown))


def _scale(reach: float) -> Callable[[float], float]:
    half = PLOT_WIDTH / 2
    # A margin on both sides, for the ends of the widest interval.
    return lambda value: round(half + value / reach * (half - 12), 1)


def _mark(row: Difference, place: Callable[[float], float], reach: float) -> _Mark:
    def inside(value: float) -> float:
        return place(min(max(value, -reach), reach))

    at = place(row.difference) if abs(row.difference) <= reach else None
    return _Mark(inside(row.low), at, inside(row.high), row.low < -reach, row.high > reach)


def _ticks(reach: float) -> list[float]:
    """Round numbers, two to four on either side of 0."""
    step = next((step for step in _STEPS if reach / step < 4), 1.0)
    count = math.floor(reach / step)
    return [number * step for number in range(-count, count + 1)]


def _signed(value: float) -> str:
    return _minus(f"{value:+.3f}")


def _minus(number: str) -> str:
    """With the minus sign, which is as wide as the plus."""
    return number.replace("-", "\N{MINUS SIGN}")


def _description(code: ChangedCode) -> str:
    return describe(code.system, code.code, None) or ""
