"""A comparison as tables for people, at most 100 columns wide."""

from collections.abc import Iterator
from itertools import groupby

from rich.table import Table

from clinical_coding.code_library import describe
from clinical_coding.comparisons import ChangedCode, Comparison, Difference
from governance.verdict import HEADLINE_METRIC, METRIC_NAMES, direction, name_of

__all__ = ["comparison_tables"]

MAX_CODES_SHOWN = 12
_STYLES = {"better": "green", "worse": "red", "unclear": ""}


def comparison_tables(comparison: Comparison) -> Iterator[Table]:
    """One table of all encounters, one for each dimension, one of the most changed codes."""
    for dimension, members in groupby(comparison.differences, key=lambda row: row.dimension):
        rows = list(members)
        if dimension is None:
            title = f"{name_of(comparison.b)} against {name_of(comparison.a)}, all encounters"
            yield _differences(title, [(METRIC_NAMES[row.metric], row) for row in rows])
        else:
            shown = [(row.value or "", row) for row in rows if row.metric == HEADLINE_METRIC]
            yield _differences(f"{METRIC_NAMES[HEADLINE_METRIC]} by {dimension}", shown)
    if comparison.changed_codes:
        yield _codes(comparison)


def _differences(title: str, rows: list[tuple[str, Difference]]) -> Table:
    table = _table(title)
    table.add_column("", no_wrap=True, max_width=24)
    for name in ("encounters", "codes", "A", "B", "B - A", "95% interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, row in rows:
        way = direction(row)
        told = ["few" if row.is_small else "", way if way != "unclear" else ""]
        table.add_row(
            name,
            f"{row.num_records:,}",
            f"{row.num_codes:,}",
            f"{row.a:.3f}",
            f"{row.b:.3f}",
            f"{row.difference:+.3f}",
            f"{row.low:+.3f} to {row.high:+.3f}",
            ", ".join(filter(None, reversed(told))),
            style="dim" if row.is_small else _STYLES[way],
        )
    return table


def _codes(comparison: Comparison) -> Table:
    shown = comparison.changed_codes[:MAX_CODES_SHOWN]
    table = _table(f"most changed codes, A to B ({len(shown)} of {comparison.num_changed_codes:,})")
    table.add_column("code", no_wrap=True)
    table.add_column("meaning", no_wrap=True, max_width=40)
    for name in ("on records", "right", "missed", "wrong"):
        table.add_column(name, justify="right", no_wrap=True)
    for code in shown:
        table.add_row(code.code, describe(code.system, code.code, None) or "", f"{code.num_gold:,}", *_changes(code))
    return table


def _changes(code: ChangedCode) -> list[str]:
    pairs = (code.a.correct, code.b.correct), (code.a.missed, code.b.missed), (code.a.wrong, code.b.wrong)
    return [f"{before:,} > {after:,}" for before, after in pairs]


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="bold")
