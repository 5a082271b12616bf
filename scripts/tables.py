"""Metrics as tables for people."""

from collections.abc import Callable, Iterator, Sequence

from rich.table import Table

from clinical_coding.metrics import Evaluation, Metrics

__all__ = ["evaluation_tables"]

_COLUMNS: dict[str, Callable[[Metrics], str]] = {
    "rec-\nords": lambda metrics: f"{metrics.num_records:,}",
    "codes": lambda metrics: f"{metrics.num_codes:,}",
    "code/\ncode": lambda metrics: f"{metrics.code_over_code_accuracy:.3f}",
    "prec-\nision": lambda metrics: f"{metrics.precision:.3f}",
    "re-\ncall": lambda metrics: f"{metrics.recall:.3f}",
    "micro\nF1": lambda metrics: f"{metrics.micro_f1:.3f}",
    "macro\nF1": lambda metrics: f"{metrics.macro_f1:.3f}",
    "MAP": lambda metrics: f"{metrics.mean_average_precision:.3f}",
    "E/M\nlevel": lambda metrics: "" if metrics.level_accuracy is None else f"{metrics.level_accuracy:.3f}",
}


def evaluation_tables(evaluation: Evaluation, *, dimensions: Sequence[str]) -> Iterator[Table]:
    """One table for each dimension: its slices by support, and all records last."""
    for dimension in dimensions:
        title = f"accuracy by {dimension} (code/code: code-over-code accuracy)"
        table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="bold")
        table.add_column(dimension, no_wrap=True, max_width=24)
        for name in _COLUMNS:
            table.add_column(name, justify="right", min_width=6 if name == "codes" else 5)
        slices = evaluation.slices.get(dimension, {})
        for value, metrics in sorted(slices.items(), key=lambda item: -item[1].num_records):
            table.add_row(value, *_cells(metrics))
        table.add_section()
        table.add_row("all", *_cells(evaluation.overall), style="bold")
        yield table


def _cells(metrics: Metrics) -> list[str]:
    return [column(metrics) for column in _COLUMNS.values()]
