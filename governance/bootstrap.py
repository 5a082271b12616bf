"""Paired bootstrap: how far a difference could be chance, had other encounters been drawn.

Encounters are drawn with replacement, both versions on the same draw, and the metric is computed
anew from each draw's counts (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter
13, percentile interval; Koehn 2004, Statistical Significance Tests for Machine Translation
Evaluation, aclanthology.org/W04-3250, for paired draws in the comparison of systems). It knows counts alone.

Shapes: N encounters, C columns of counts, R resamples.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["percentile_interval", "resampled_sums"]

# Bounds the memory of one pass at some 64 MB.
_MAX_CELLS: Final = 4_000_000


def resampled_sums(counts_NC: NDArray[np.float64], *, num_resamples: int, seed: int) -> NDArray[np.float64]:
    """Sum every column over resampled encounters.

    Args:
        counts_NC: What each encounter adds to each sum; at least one encounter.
        num_resamples: R.
        seed: The same seed and number of encounters draw the same encounters.

    Returns:
        Sums [R, C].
    """
    num_encounters = len(counts_NC)
    draw = np.random.default_rng(seed)
    rows = max(1, _MAX_CELLS // num_encounters)
    sums = []
    for start in range(0, num_resamples, rows):
        num_rows = min(rows, num_resamples - start)
        drawn_RN = draw.integers(0, num_encounters, (num_rows, num_encounters))
        drawn_RN += num_encounters * np.arange(num_rows)[:, None]
        times_RN = np.bincount(drawn_RN.ravel(), minlength=num_rows * num_encounters)
        sums.append(times_RN.reshape(num_rows, num_encounters) @ counts_NC)
    return np.concatenate(sums)


def percentile_interval(values_R: NDArray[Any], *, confidence_level: float) -> tuple[float, float]:
    """The central interval that holds a share of the values."""
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(values_R, [tail, 1 - tail])
    return float(low), float(high)
