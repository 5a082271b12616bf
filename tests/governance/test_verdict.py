import pytest

from clinical_coding.comparisons import ComparedVersion, Comparison, Difference
from governance.verdict import HEADLINE_METRIC, METRIC_NAMES, direction, headline, name_of

VERSION = ComparedVersion(number=1, bundle_sha256="a" * 64, manifest_sha256="2" * 64, base_model="m", code_commit=None)


def compared(a: float, b: float, low: float, high: float, *, num_records: int = 1_312) -> Comparison:
    row = Difference(
        metric=HEADLINE_METRIC,
        dimension=None,
        value=None,
        a=a,
        b=b,
        difference=b - a,
        low=low,
        high=high,
        num_records=num_records,
        num_codes=9,
        is_small=num_records < 30,
    )
    return Comparison(
        a=VERSION,
        b=VERSION.model_copy(update={"number": 2}),
        evaluation_set_sha256="5" * 64,
        num_records=num_records,
        num_patients=1,
        num_codes=9,
        num_resamples=10,
        seed=0,
        confidence_level=0.95,
        differences=(row.model_copy(update={"dimension": "setting"}), row),
        changed_codes=(),
        num_changed_codes=0,
    )


@pytest.mark.parametrize(
    ("comparison", "sentence"),
    [
        (
            compared(0.5, 0.531, 0.012, 0.049),
            "Version 2 is better than version 1 by 0.031 (0.012 to 0.049) in code-over-code accuracy"
            " on 1,312 encounters.",
        ),
        (
            compared(0.5, 0.45, -0.08, -0.01),
            "Version 2 is worse than version 1 by 0.050 (0.010 to 0.080) in code-over-code accuracy"
            " on 1,312 encounters.",
        ),
        (
            compared(0.5, 0.51, -0.01, 0.03, num_records=12),
            "No difference shown between version 2 and version 1: +0.010 (-0.010 to +0.030)"
            " in code-over-code accuracy on 12 encounters. So few encounters prove little.",
        ),
    ],
)
def test_the_verdict_in_words(comparison: Comparison, sentence: str) -> None:
    assert headline(comparison) == sentence


@pytest.mark.parametrize(("low", "high", "way"), [(0.0, 0.1, "unclear"), (-0.1, 0.0, "unclear"), (0, 0, "unclear")])
def test_an_interval_that_touches_zero_shows_nothing(low: float, high: float, way: str) -> None:
    assert direction(compared(0.5, 0.5, low, high).overall(HEADLINE_METRIC)) == way


def test_a_bundle_without_a_number_is_called_by_its_hash() -> None:
    assert name_of(VERSION.model_copy(update={"number": None})) == "bundle aaaaaaaaaaaa"
    assert METRIC_NAMES.keys() >= {HEADLINE_METRIC}
