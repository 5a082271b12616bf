"""What a version's predictions are worth, on the whole and by slice (stage 4).

It knows neither models nor files. A ratio whose denominator is 0 is 0, as in scikit-learn with ``zero_division=0``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical_coding.judging import Outcome, Truth, judge
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord
from clinical_coding.slices import DIMENSIONS

__all__ = ["Evaluation", "Metrics", "best_threshold", "evaluate"]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of a set of records; counts pooled over records unless said otherwise."""

    num_records: int
    num_codes: int
    """Gold codes: the support."""
    num_without_gold: int
    """Records without a gold code: left out of mean_average_precision and precision_at_8."""
    code_over_code_accuracy: float
    """correct / (correct + missed + wrong). An auditor's measure (AHIMA, Benchmarking to Improve Coding
    Accuracy and Productivity, 2009, divides the correct codes by the reviewer's codes, which is recall
    here, and may deduct wrong codes from the numerator). Here wrong codes stand in the denominator, so
    that over-coding costs and the measure stays within 0 and 1; a code put in another's place counts
    as one missed and one wrong."""
    precision: float
    """correct / (correct + wrong)."""
    recall: float
    """correct / (correct + missed)."""
    micro_f1: float
    macro_f1: float
    """Mean of the F1 of every code that is gold on at least one of these records."""
    mean_average_precision: float
    """Mean over records with gold of average precision over the ranking (CodiEsp 2020, tasks D and P)."""
    precision_at_8: float
    """Mean over records with gold of the share of gold codes among the eight places at the top."""
    exact_match: float
    """Share of records whose suggested codes are just the gold ones."""
    num_levels: int
    """Gold evaluation-and-management codes: the support of the next three."""
    level_accuracy: float | None
    """Share of gold evaluation-and-management codes that are suggested; null where there is none."""
    level_over_coded: float | None
    """Share in whose place a higher level of the same family is suggested."""
    level_under_coded: float | None
    """Share in whose place a lower level is suggested. The rest are missed, or of another family."""

    def as_dict(self) -> dict[str, float | None]:
        """The metrics by name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics of all records, and of every slice of them."""

    overall: Metrics
    slices: dict[str, dict[str, Metrics]]
    """By dimension, then by value, in alphabetical order."""

    def as_dict(self) -> dict[str, Any]:
        """Everything by name, ready for JSON."""
        slices = {
            dimension: {value: metrics.as_dict() for value, metrics in values.items()}
            for dimension, values in self.slices.items()
        }
        return {"overall": self.overall.as_dict(), "slices": slices}

    def by_path(self, *, dimensions: Sequence[str] = DIMENSIONS) -> dict[tuple[str, ...], float]:
        """Metrics by where they stand: ``("micro_f1",)``, ``("specialty", "cardiology", "micro_f1")``.

        Args:
            dimensions: Slices to include; there may be very many providers.

        Returns:
            Every metric that has a value.
        """
        placed: dict[tuple[str, ...], Metrics] = {(): self.overall} | {
            (dimension, value): metrics
            for dimension in dimensions
            for value, metrics in self.slices.get(dimension, {}).items()
        }
        return {
            (*place, name): float(value)
            for place, metrics in placed.items()
            for name, value in metrics.as_dict().items()
            if value is not None
        }


def evaluate(
    records: Iterable[CodedRecord], predictions: Iterable[Prediction], *, dimensions: Sequence[str] = DIMENSIONS
) -> Evaluation:
    """Compare predictions with the codes on the records, in one pass over each.

    Args:
        records: What is true. Their codes are held in memory, their notes are not.
        predictions: One for each record, in any order.
        dimensions: Circumstances to slice by.

    Raises:
        ValueError: A record has no prediction, or a prediction has no record or comes twice.
    """
    truths = {record.record_id: Truth.of(record, dimensions=dimensions) for record in records}
    overall = _Tally()
    slices: dict[str, dict[str, _Tally]] = {dimension: defaultdict(_Tally) for dimension in dimensions}
    for prediction in predictions:
        truth = truths.pop(prediction.record_id, None)
        if truth is None:
            raise ValueError(
                f"prediction for record {prediction.record_id!r} matches no record, or comes twice; "
                "evaluate the same records that were predicted"
            )
        outcome = judge(truth, prediction)
        overall.add(outcome)
        for dimension, value in truth.slices:
            slices[dimension][value].add(outcome)
    if truths:
        raise ValueError(
            f"record {next(iter(truths))!r} has no prediction ({len(truths)} in all); predict all records first"
        )
    return Evaluation(
        overall=overall.metrics(),
        slices={
            dimension: {value: tally.metrics() for value, tally in sorted(tallies.items())}
            for dimension, tallies in slices.items()
        },
    )


def best_threshold(
    confidences: NDArray[np.floating[Any]], is_positive: NDArray[np.bool_], *, num_positive: int
) -> tuple[float, float]:
    """Choose the confidence from which codes are suggested, so that micro-F1 is highest.

    Args:
        confidences: One for each scored code of each record, any order.
        is_positive: Whether that code is gold. Same length.
        num_positive: All gold codes, those that were never scored included.

    Returns:
        The threshold, half-way down to the next confidence so that rounding cannot cross it, and
        the micro-F1 of suggesting everything at or above it. Of equals, the higher threshold.

    Raises:
        ValueError: There is nothing to choose from.
    """
    if not len(confidences) or num_positive < 1:
        raise ValueError(
            f"a threshold needs scored codes and gold codes, but there are {len(confidences)} and {num_positive}; "
            "use a larger calibration split"
        )
    order = np.argsort(-confidences, kind="stable")
    ranked = confidences[order].astype(np.float64)
    num_suggested = np.arange(1, len(ranked) + 1)
    f1 = 2 * np.cumsum(is_positive[order]) / (num_suggested + num_positive)
    # Equal confidences are suggested together, so only the last of them is a place to cut.
    can_cut = np.append(ranked[:-1] > ranked[1:], True)
    best = int(np.argmax(np.where(can_cut, f1, -1.0)))
    lower = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    middle = (ranked[best] + lower) / 2
    return float(middle if middle > lower else ranked[best]), float(f1[best])


@dataclass(slots=True)
class _Tally:
    """Counts over records, from which metrics follow."""

    num_records: int = 0
    num_with_gold: int = 0
    num_exact: int = 0
    sum_average_precision: float = 0.0
    sum_precision_at_top: float = 0.0
    levels: Counter[str] = field(default_factory=Counter)
    gold: Counter[str] = field(default_factory=Counter)
    suggested: Counter[str] = field(default_factory=Counter)
    correct: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.num_records += 1
        self.num_exact += outcome.suggested == outcome.gold
        if outcome.gold:
            self.num_with_gold += 1
            self.sum_average_precision += outcome.average_precision
            self.sum_precision_at_top += outcome.precision_at_8
        self.levels.update(outcome.levels)
        self.gold.update(outcome.gold)
        self.suggested.update(outcome.suggested)
        self.correct.update(outcome.gold & outcome.suggested)

    def metrics(self) -> Metrics:
        num_gold, num_suggested, num_correct = self.gold.total(), self.suggested.total(), self.correct.total()
        f1_by_code = [
            2 * self.correct[key] / (num_key + self.suggested[key]) for key, num_key in sorted(self.gold.items())
        ]
        num_levels = self.levels.total()
        return Metrics(
            num_records=self.num_records,
            num_codes=num_gold,
            num_without_gold=self.num_records - self.num_with_gold,
            code_over_code_accuracy=_ratio(num_correct, num_gold + num_suggested - num_correct),
            precision=_ratio(num_correct, num_suggested),
            recall=_ratio(num_correct, num_gold),
            micro_f1=_ratio(2 * num_correct, num_gold + num_suggested),
            macro_f1=_ratio(sum(f1_by_code), len(f1_by_code)),
            mean_average_precision=_ratio(self.sum_average_precision, self.num_with_gold),
            precision_at_8=_ratio(self.sum_precision_at_top, self.num_with_gold),
            exact_match=_ratio(self.num_exact, self.num_records),
            num_levels=num_levels,
            level_accuracy=self.levels["right"] / num_levels if num_levels else None,
            level_over_coded=self.levels["over"] / num_levels if num_levels else None,
            level_under_coded=self.levels["under"] / num_levels if num_levels else None,
        )


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0
