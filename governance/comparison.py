"""Two versions held against each other on the same records (stage 11).

Pure: takes an evaluation set and both versions' predictions, gives a ``Comparison``. It knows neither
files nor models, and judges nothing: what a difference is worth is said by ``verdict``.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from clinical_coding.codes import split_key
from clinical_coding.comparisons import ChangedCode, CodeOutcome, ComparedVersion, Comparison, Difference
from clinical_coding.evaluation_set import COMPARED_DIMENSIONS, EvaluatedRecord, evaluation_set_sha256
from clinical_coding.judging import Outcome
from clinical_coding.predictions import Prediction
from governance.bootstrap import percentile_interval, resampled_sums
from governance.outcomes import METRICS, count, outcomes_of

__all__ = ["SMALL_RECORDS", "Measured", "compare"]

CONFIDENCE_LEVEL: Final = 0.95
NUM_RESAMPLES: Final = 5_000
SMALL_RECORDS: Final = 30
"""Records below which a slice is marked: the percentile interval of so few is too narrow."""
MAX_CHANGED_CODES: Final = 50
_SLICE_METRICS: Final = ("code_over_code_accuracy", "micro_f1")


@dataclass(frozen=True, slots=True)
class Measured:
    """A version with its predictions, and the records that they are of."""

    version: ComparedVersion
    records: Sequence[EvaluatedRecord]
    predictions: Sequence[Prediction]

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(self.version.number or self.version.bundle_sha256[:12])


@dataclass(frozen=True, slots=True)
class _Slice:
    """Some of the records, by their places in the evaluation set."""

    dimension: str | None
    value: str | None
    rows: NDArray[np.intp]
    num_codes: int
    """Gold codes on them."""


def compare(a: Measured, b: Measured, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Comparison:
    """Compare two versions on the whole and by slice.

    Args:
        a: The one to compare with.
        b: The one that is judged.
        num_resamples: Of the bootstrap, for each interval.
        seed: Of the bootstrap: the same inputs and seed give the same comparison.

    Raises:
        ValueError: The versions were measured on different records, there is no record, or the
            predictions do not match the records.
    """
    sha256 = _same_set(a, b)
    records = {record.record_id: record for record in a.records}
    outcomes_a, outcomes_b = (outcomes_of(records, one.predictions, version=one.name) for one in (a, b))
    counts_a, counts_b = count(outcomes_a), count(outcomes_b)
    differences: list[Difference] = []
    for part in _slices(list(records.values())):
        names = tuple(METRICS) if part.dimension is None else _SLICE_METRICS
        differences += _differences(
            part, counts_a[part.rows], counts_b[part.rows], metrics=names, num_resamples=num_resamples, seed=seed
        )
    changed = _changed_codes(outcomes_a, outcomes_b)
    return Comparison(
        a=a.version,
        b=b.version,
        evaluation_set_sha256=sha256,
        num_records=len(records),
        num_patients=len({record.patient_hash for record in a.records}),
        num_codes=sum(len(record.positive) for record in a.records),
        num_resamples=num_resamples,
        seed=seed,
        confidence_level=CONFIDENCE_LEVEL,
        differences=tuple(differences),
        changed_codes=tuple(changed[:MAX_CHANGED_CODES]),
        num_changed_codes=len(changed),
    )


def _same_set(a: Measured, b: Measured) -> str:
    if not a.records or not b.records:
        empty = b if a.records else a
        raise ValueError(f"version {empty.name} was measured on no record; give records to compare on with --records")
    sha256_a, sha256_b = evaluation_set_sha256(a.records), evaluation_set_sha256(b.records)
    if sha256_a != sha256_b:
        raise ValueError(
            f"the versions were measured on different records: evaluation set {sha256_a} ({len(a.records)} records) "
            f"of version {a.name}, {sha256_b} ({len(b.records)} records) of version {b.name}; "
            "give records that both shall predict with --records"
        )
    return sha256_a


def _slices(records: Sequence[EvaluatedRecord]) -> list[_Slice]:
    """All records, then every slice: by dimension, those with most records first."""
    num_codes = np.array([len(record.positive) for record in records])
    slices = [_Slice(None, None, np.arange(len(records)), int(num_codes.sum()))]
    for dimension in COMPARED_DIMENSIONS:
        places: dict[str, list[int]] = defaultdict(list)
        for place, record in enumerate(records):
            if dimension in record.slices:
                places[record.slices[dimension]].append(place)
        for value, members in sorted(places.items(), key=lambda item: (-len(item[1]), item[0])):
            rows = np.array(members)
            slices.append(_Slice(dimension, value, rows, int(num_codes[rows].sum())))
    return slices


def _differences(
    part: _Slice,
    counts_a: NDArray[np.float64],
    counts_b: NDArray[np.float64],
    *,
    metrics: Sequence[str],
    num_resamples: int,
    seed: int,
) -> list[Difference]:
    num_columns = counts_a.shape[1]
    # Side by side, so that both versions are drawn on the same encounters.
    sums_RC = resampled_sums(np.hstack([counts_a, counts_b]), num_resamples=num_resamples, seed=seed)
    totals_a, totals_b = counts_a.sum(axis=0), counts_b.sum(axis=0)
    rows = []
    for name in metrics:
        metric = METRICS[name]
        value_a, value_b = float(metric(totals_a)), float(metric(totals_b))
        resampled_R = metric(sums_RC[:, num_columns:]) - metric(sums_RC[:, :num_columns])
        low, high = percentile_interval(resampled_R, confidence_level=CONFIDENCE_LEVEL)
        rows.append(
            Difference(
                metric=name,
                dimension=part.dimension,
                value=part.value,
                a=value_a,
                b=value_b,
                difference=value_b - value_a,
                low=low,
                high=high,
                num_records=len(part.rows),
                num_codes=part.num_codes,
                is_small=len(part.rows) < SMALL_RECORDS,
            )
        )
    return rows


def _changed_codes(outcomes_a: Sequence[Outcome], outcomes_b: Sequence[Outcome]) -> list[ChangedCode]:
    """Codes by how many more or fewer times they are right, and wrong."""
    gold = Counter(key for outcome in outcomes_a for key in outcome.gold)
    tallies = [
        (_tally(outcomes, correct=True), _tally(outcomes, correct=False)) for outcomes in (outcomes_a, outcomes_b)
    ]
    (correct_a, wrong_a), (correct_b, wrong_b) = tallies
    change = {
        key: abs(correct_b[key] - correct_a[key]) + abs(wrong_b[key] - wrong_a[key])
        for key in {*correct_a, *wrong_a, *correct_b, *wrong_b}
    }
    ranked = sorted((key for key in change if change[key]), key=lambda key: (-change[key], key))
    changed = []
    for key in ranked:
        system, code = split_key(key)
        of_a, of_b = (
            CodeOutcome(correct=correct[key], missed=gold[key] - correct[key], wrong=wrong[key])
            for correct, wrong in tallies
        )
        changed.append(ChangedCode(system=system, code=code, num_gold=gold[key], a=of_a, b=of_b))
    return changed


def _tally(outcomes: Sequence[Outcome], *, correct: bool) -> Counter[str]:
    """How often each code is suggested rightly, or wrongly."""
    return Counter(key for outcome in outcomes for key in outcome.suggested if (key in outcome.gold) is correct)
