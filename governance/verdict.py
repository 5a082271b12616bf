"""A comparison in words: the sentences that reviewers read first. It computes nothing."""

from typing import Final, Literal

from clinical_coding.comparisons import ComparedVersion, Comparison, Difference

__all__ = ["HEADLINE_METRIC", "METRIC_NAMES", "direction", "headline", "name_of"]

HEADLINE_METRIC: Final = "code_over_code_accuracy"
METRIC_NAMES: Final = {
    "code_over_code_accuracy": "code-over-code accuracy",
    "micro_f1": "micro-F1",
    "precision": "precision",
    "recall": "recall",
    "mean_average_precision": "mean average precision",
    "exact_match": "exact match",
}


def direction(row: Difference) -> Literal["better", "worse", "unclear"]:
    """What an interval says of B: it lies above 0, below 0, or holds it."""
    if row.low > 0:
        return "better"
    return "worse" if row.high < 0 else "unclear"


def name_of(version: ComparedVersion) -> str:
    """How people call a version."""
    return f"version {version.number}" if version.number else f"bundle {version.bundle_sha256[:12]}"


def headline(comparison: Comparison) -> str:
    """The verdict in one sentence: whether B is better than A, by how much, on how many encounters."""
    row = comparison.overall(HEADLINE_METRIC)
    a, b = name_of(comparison.a), name_of(comparison.b)
    measured = f"in {METRIC_NAMES[HEADLINE_METRIC]} on {row.num_records:,} encounters"
    interval = f"{row.low:+.3f} to {row.high:+.3f}"
    if (way := direction(row)) == "unclear":
        sentence = f"No difference shown between {b} and {a}: {row.difference:+.3f} ({interval}) {measured}."
    else:
        least, most = sorted((abs(row.low), abs(row.high)))
        size = f"{abs(row.difference):.3f} ({least:.3f} to {most:.3f})"
        sentence = f"{b.capitalize()} is {way} than {a} by {size} {measured}."
    return f"{sentence} So few encounters prove little." if row.is_small else sentence
