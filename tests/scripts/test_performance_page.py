"""docs/performance.md is what the results on file say."""

from pathlib import Path

from scripts.performance_page import render

ROOT = Path(__file__).parents[2]


def test_the_page_is_that_of_the_results_on_file() -> None:
    assert (ROOT / "docs" / "performance.md").read_text(encoding="utf-8") == render()
