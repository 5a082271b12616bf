"""docs/performance.md is what the results on file say."""

from pathlib import Path

from scripts.performance_page import render
from scripts.performance_plots import plot_beside_peers, plot_label_spaces

ROOT = Path(__file__).parents[2]


def _row(metric: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None) -> dict:
    ratio = None if peer_value is None else value / peer_value
    return {
        "metric": metric,
        "value": value,
        "unit": unit,
        "peer": peer,
        "peer_value": peer_value,
        "ratio": ratio,
    }


def test_the_page_is_that_of_the_results_on_file() -> None:
    assert (ROOT / "docs" / "performance.md").read_text(encoding="utf-8") == render()


def test_peers_are_drawn_and_variants_of_ours_are_not(tmp_path: Path) -> None:
    rows = [
        _row("tiny notes", 3.0, "notes/s", "padded", 2.0),
        _row("tiny notes, compiled", 4.0, "notes/s", "packed", 3.0),
    ]
    for path in (tmp_path / "one.svg", tmp_path / "two.svg"):
        plot_beside_peers(rows, path)
    drawn = (tmp_path / "one.svg").read_bytes()
    assert drawn == (tmp_path / "two.svg").read_bytes()
    only = tmp_path / "only.svg"
    plot_beside_peers(rows[:1], only)
    assert drawn == only.read_bytes()


def test_time_is_drawn_by_number_of_labels(tmp_path: Path) -> None:
    rows = [_row("tiny forward time with 80,000 labels", 3.0, "ms/note", "2,000 labels", 2.0)]
    plot_label_spaces(rows, tmp_path / "labels.svg")
    rows.append(_row("tiny LoRA training time of a step with 80,000 labels", 5.0, "ms", "2,000 labels", 4.0))
    plot_label_spaces(rows, tmp_path / "both.svg")
    assert (tmp_path / "labels.svg").read_bytes() != (tmp_path / "both.svg").read_bytes()
