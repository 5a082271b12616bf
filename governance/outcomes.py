"""What a version did on each record of an evaluation set, as counts that add up.

The values of ``clinical_coding.metrics`` follow from the sums.

Shapes: N records, C columns.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clinical_coding.evaluation_set import EvaluatedRecord
from clinical_coding.judging import Outcome, Truth, judge
from clinical_coding.predictions import Prediction
from clinical_coding.records import Unlisted

__all__ = ["METRICS", "count", "outcomes_of"]

_RECORDS, _GOLD, _WITH_GOLD, _SUGGESTED, _CORRECT, _PRECISIONS, _EXACT = range(7)


def outcomes_of(
    records: Mapping[str, EvaluatedRecord], predictions: Iterable[Prediction], *, version: str
) -> list[Outcome]:
    """Hold predictions against the truth.

    Args:
        records: What is true, by record id.
        predictions: One for each record, in any order.
        version: Whose predictions they are, for messages.

    Returns:
        The outcomes, in the order of the records.

    Raises:
        ValueError: A record has no prediction, or a prediction has no record or comes twice.
    """
    by_record: dict[str, Outcome] = {}
    for prediction in predictions:
        record = records.get(prediction.record_id)
        if record is None or prediction.record_id in by_record:
            raise ValueError(
                f"the prediction of version {version} for record {prediction.record_id!r} matches no record, or comes "
                "twice; compare predictions of just the evaluation records"
            )
        by_record[prediction.record_id] = judge(_truth(record), prediction)
    if missing := [record_id for record_id in records if record_id not in by_record]:
        raise ValueError(
            f"version {version} has no prediction for record {missing[0]!r} ({len(missing)} in all); "
            "predict all evaluation records"
        )
    return [by_record[record_id] for record_id in records]


def _truth(record: EvaluatedRecord) -> Truth:
    gold = frozenset(record.positive)
    return Truth(
        gold=gold,
        unknown=frozenset(record.unknown),
        listed=gold.union(record.negative) if record.unlisted is Unlisted.UNKNOWN else None,
        slices=(),
    )


def count(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """Count what each record adds to the sums that metrics are ratios of; shape [N, C]."""
    counts_NC = np.zeros((len(outcomes), 7))
    for row, outcome in zip(counts_NC, outcomes, strict=True):
        row[_RECORDS] = 1
        row[_GOLD] = len(outcome.gold)
        row[_WITH_GOLD] = bool(outcome.gold)
        row[_SUGGESTED] = len(outcome.suggested)
        row[_CORRECT] = len(outcome.gold & outcome.suggested)
        row[_PRECISIONS] = outcome.average_precision
        row[_EXACT] = outcome.gold == outcome.suggested
    return counts_NC


Sums = NDArray[np.float64]
"""Column sums [..., C]."""

METRICS: Final[dict[str, Callable[[Sums], NDArray[Any]]]] = {
    "code_over_code_accuracy": lambda sums: _ratio(
        sums[..., _CORRECT], sums[..., _GOLD] + sums[..., _SUGGESTED] - sums[..., _CORRECT]
    ),
    "micro_f1": lambda sums: _ratio(2 * sums[..., _CORRECT], sums[..., _GOLD] + sums[..., _SUGGESTED]),
    "precision": lambda sums: _ratio(sums[..., _CORRECT], sums[..., _SUGGESTED]),
    "recall": lambda sums: _ratio(sums[..., _CORRECT], sums[..., _GOLD]),
    "mean_average_precision": lambda sums: _ratio(sums[..., _PRECISIONS], sums[..., _WITH_GOLD]),
    "exact_match": lambda sums: _ratio(sums[..., _EXACT], sums[..., _RECORDS]),
}
"""Each metric as a ratio of sums, by its name in ``clinical_coding.metrics.Metrics``; 0 where there is nothing."""


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[Any]:
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator != 0)
