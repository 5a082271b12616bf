"""The plots of docs/performance.md."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clinical_coding.artefact import publish_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["OURS", "plot_beside_peers", "plot_label_spaces"]

OURS: Final = "packed"
"""The peer of a row that compares ours with itself."""

_BLUE: Final = "#0072B2"
_GREY: Final = "#999999"
_ORANGE: Final = "#D55E00"


@contextmanager
def _drawn(path: Path, *, height: float) -> "Iterator[Axes]":
    """Axes of a figure that is written in the end, byte for byte the same for the same figures."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "chartloop", "font.size": 9}):
        figure = Figure(figsize=(8, height), layout="constrained")
        axes = figure.subplots()
        yield axes
        axes.spines[["top", "right"]].set_visible(False)
        with publish_path(path) as aside:
            figure.savefig(aside, format="svg", metadata={"Date": None})


def plot_beside_peers(rows: list[dict[str, Any]], path: Path) -> None:
    """Notes a second, ours and each peer's, as pairs of bars."""
    compared = [row for row in rows if row["peer"] not in (None, OURS) and row["unit"] == "notes/s"][::-1]
    with _drawn(path, height=0.7 + 0.75 * len(compared)) as axes:
        for at, row in enumerate(compared):
            axes.barh(at + 0.19, row["value"], height=0.36, color=_BLUE, label="ours" if at == 0 else None)
            axes.barh(at - 0.19, row["peer_value"], height=0.36, color=_GREY, label="peer" if at == 0 else None)
            axes.annotate(f" {row['ratio']:.2f} times", (row["value"], at + 0.19), va="center")
        axes.set_yticks(range(len(compared)), [f"{row['metric']}\nbeside {row['peer']}" for row in compared])
        axes.set_xlabel("notes a second; longer is better")
        axes.margins(x=0.15)
        axes.legend(loc="lower right", frameon=False)


def plot_label_spaces(rows: list[dict[str, Any]], path: Path) -> None:
    """Time relative to that of the smallest label space, of a forward pass and of a training step."""
    with _drawn(path, height=3.2) as axes:
        for kind, colour in (("forward time", _BLUE), ("training time of a step", _ORANGE)):
            found = [(row, re.search(rf"{kind} with ([\d,]+) labels$", row["metric"])) for row in rows]
            points = {int(match[1].replace(",", "")): row["ratio"] for row, match in found if match}
            least = {int(row["peer"].split()[0].replace(",", "")): 1.0 for row, match in found if match}
            xy = sorted((least | points).items())
            axes.plot([x for x, _ in xy], [y for _, y in xy], marker="o", color=colour, label=kind)
        axes.set_xscale("log")
        axes.set_xlabel("labels")
        axes.set_ylabel("time, relative to the fewest labels")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower right", frameon=False)
