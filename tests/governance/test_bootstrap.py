import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from governance.bootstrap import percentile_interval, resampled_sums


def test_the_interval_is_that_of_scipy_on_the_same_draws() -> None:
    counts = np.random.default_rng(5).integers(0, 9, (60, 4)).astype(float)

    def difference_of_ratios(*columns: np.ndarray, axis: int = -1) -> np.ndarray:
        hits_a, all_a, hits_b, all_b = (column.sum(axis=axis) for column in columns)
        return hits_b / all_b - hits_a / all_a

    theirs = scipy.stats.bootstrap(
        tuple(counts.T), difference_of_ratios, paired=True, vectorized=True, n_resamples=3_000,
        method="percentile", rng=np.random.default_rng(11),
    )  # fmt: skip
    sums = resampled_sums(counts, num_resamples=3_000, seed=11)
    values = sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1]
    interval = theirs.confidence_interval
    assert percentile_interval(values, confidence_level=0.95) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_the_mean_s_spread_is_that_of_theory() -> None:
    values = np.random.default_rng(1).normal(size=(400, 1))
    means = resampled_sums(values, num_resamples=20_000, seed=2)[:, 0] / 400
    assert means.mean() == pytest.approx(values.mean(), abs=0.002)
    # The standard error of a mean of n is its standard deviation through the root of n.
    assert means.std() == pytest.approx(values.std() / 20, rel=0.03)


@given(num_encounters=st.integers(1, 40), num_resamples=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_every_resample_draws_as_many_encounters_as_there_are(
    num_encounters: int, num_resamples: int, seed: int
) -> None:
    counts = np.eye(num_encounters)
    sums = resampled_sums(counts, num_resamples=num_resamples, seed=seed)
    assert sums.shape == (num_resamples, num_encounters)
    assert (sums.sum(axis=1) == num_encounters).all()
    assert (sums == resampled_sums(counts, num_resamples=num_resamples, seed=seed)).all()


def test_passes_that_do_not_fit_into_memory_at_once_are_all_made(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.eye(7)
    whole = resampled_sums(counts, num_resamples=50, seed=3)
    monkeypatch.setattr("governance.bootstrap._MAX_CELLS", 20)
    assert (resampled_sums(counts, num_resamples=50, seed=3) == whole).all()
