import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_coding.code_library import describe
from clinical_coding.codes import CodeSystem
from clinical_coding.comparisons import ComparedVersion, Comparison, Difference
from governance.report import PLOT_WIDTH, render
from governance.verdict import headline

VOID = {"meta", "col", "line", "circle", "path", "br"}


class Page(HTMLParser):
    """The text of a page, and what it refers to; a tag that is not closed in turn is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.references, self.attributes, self._open = "", [], [], []  # type: ignore[var-annotated]
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attributes)))
        self.references += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def comparison() -> Comparison:
    golden = Path(__file__).parents[1] / "golden" / "comparison.json"
    return Comparison.model_validate_json(golden.read_bytes())


@pytest.fixture
def make_difference(comparison: Comparison) -> Callable[..., Difference]:
    return lambda **fields: comparison.differences[0].model_copy(update=fields)


def test_a_reviewer_finds_the_verdict_the_numbers_and_what_was_compared(comparison: Comparison) -> None:
    page = Page(render(comparison))
    assert headline(comparison) in page.text
    assert "312 encounters of 290 patients with 1,480 codes" in page.text
    for version in (comparison.a, comparison.b):
        assert version.bundle_sha256 in page.text
        assert version.manifest_sha256 in page.text
    assert comparison.evaluation_set_sha256 in page.text
    assert describe(CodeSystem.ICD10CM, "I21.4", None) in page.text
    assert "5,000 paired bootstrap resamples (seed 0)" in page.text
    assert ("tr", {"class": " first"}) in page.attributes


def test_it_needs_nothing_from_elsewhere_and_comes_the_same_each_time(comparison: Comparison) -> None:
    html = render(comparison)
    assert html == render(comparison)
    assert Page(html).references == []
    assert not re.search(r"url\(|@import|<script|https?:", html)
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html


def test_names_of_slices_are_text_not_markup(
    comparison: Comparison, make_difference: Callable[..., Difference]
) -> None:
    name = '<img src=x onerror="alert(1)"> & sons'
    named = make_difference(dimension="payer", value=name)
    html = render(comparison.model_copy(update={"differences": (*comparison.differences, named)}))
    assert "<img" not in html
    page = Page(html)
    assert name in page.text
    assert page.references == []


def test_an_interval_beyond_the_scale_is_cut_with_an_arrow(
    comparison: Comparison, make_difference: Callable[..., Difference]
) -> None:
    whole = make_difference(difference=0.0, low=-0.1, high=0.1)
    beyond = make_difference(dimension="payer", value="p", difference=0.4, low=-0.05, high=0.9, is_small=True)
    html = render(comparison.model_copy(update={"differences": (whole, beyond)}))
    tags = [tag for tag, _ in Page(html).attributes]
    assert html.count('class="cut"') == 1
    # The point of the cut row lies beyond the scale too, and would mislead at its edge.
    assert tags.count("circle") == 1


@given(
    ends=st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)).map(sorted), min_size=1, max_size=4),
    small=st.booleans(),
)
def test_every_mark_lies_inside_its_plot(ends: list[list[float]], small: bool) -> None:
    version = ComparedVersion(
        number=1, bundle_sha256="a" * 64, manifest_sha256="b" * 64, base_model="m", code_commit=None
    )
    rows = tuple(
        Difference(
            metric="code_over_code_accuracy",
            dimension=None if place == 0 else "payer",
            value=None if place == 0 else f"p{place}",
            a=0.5,
            b=0.5,
            low=low,
            difference=middle,
            high=high,
            num_records=9,
            num_codes=9,
            is_small=small,
        )
        for place, (low, middle, high) in enumerate(ends)
    )
    comparison = Comparison(
        a=version,
        b=version,
        evaluation_set_sha256="c" * 64,
        num_records=9,
        num_patients=9,
        num_codes=9,
        num_resamples=5,
        seed=0,
        confidence_level=0.95,
        differences=rows,
        changed_codes=(),
        num_changed_codes=0,
    )
    for tag, attributes in Page(render(comparison)).attributes:
        places = [float(attributes[name]) for name in ("x1", "x2", "cx", "x") if name in attributes]
        assert all(0 <= place <= PLOT_WIDTH for place in places), tag
        if attributes.get("class") == "reach":
            assert places[0] <= places[1]
