"""What people see while something takes longer than two seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Advance", "progress_bar"]


class Advance(Protocol):
    """Takes the units done since its last call, and a note to show behind the bar."""

    def __call__(self, units: int, note: str | None = None, /) -> None:
        """Move the bar."""


@contextmanager
def progress_bar(title: str, *, total: int | None, console: Console) -> Iterator[Advance]:
    """Show a bar while the block runs.

    Args:
        title: What is being done.
        total: Units to do; None when unknown.
        console: Where to; a quiet console shows nothing.

    Yields:
        The function that moves the bar.
    """
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(units: int, note: str | None = None, /) -> None:
            if note is not None:
                bar.update(task, note=note)
            bar.update(task, advance=units)

        yield advance
