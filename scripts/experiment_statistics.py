"""The feedback experiment's arms compared: code-over-code accuracy, paired bootstrap over encounters.

Shapes: N encounters, A arms, R resamples, S seeds.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from governance.bootstrap import percentile_interval, resampled_sums
from scripts.experiment_design import ARMS

__all__ = ["NUM_RESAMPLES", "PAIRS", "SCOPES", "Compared", "accuracies", "pooled"]

NUM_RESAMPLES: Final = 5_000
CONFIDENCE_LEVEL: Final = 0.95
SCOPES: Final = ("all codes", "habit codes")
PAIRS: Final = (("adjudicated", "version 1"), ("adjudicated", "raw"), ("raw", "version 1"))


@dataclass(frozen=True, slots=True)
class Compared:
    """Two arms by code-over-code accuracy, over all seeds or on one."""

    scope: str
    arm: str
    over: str
    difference: float
    low: float
    high: float
    """The paired bootstrap interval."""
    by_seed: tuple[float, ...]


def pooled(counts_by_seed: list[NDArray[np.float64]], *, scope: str) -> list[Compared]:
    """Compare the arms, all seeds together.

    Encounters are resampled within each seed, every arm on the same draw; counts are then added over the seeds
    and the accuracy is taken of the sums. So the interval tells of the encounters drawn, not of other seeds.

    Args:
        counts_by_seed: For each seed what ``accuracies`` takes.
        scope: Which of its columns, for the result.
    """
    parts = [
        resampled_sums(counts_NC, num_resamples=NUM_RESAMPLES, seed=number)
        for number, counts_NC in enumerate(counts_by_seed)
    ]
    resampled_RA = accuracies(np.sum(parts, axis=0))
    value_A = accuracies(np.sum([counts_NC.sum(axis=0) for counts_NC in counts_by_seed], axis=0))
    by_seed_SA = np.stack([accuracies(counts_NC.sum(axis=0)) for counts_NC in counts_by_seed])
    compared = []
    for arm, over in PAIRS:
        a, b = ARMS.index(arm), ARMS.index(over)
        low, high = percentile_interval(resampled_RA[:, a] - resampled_RA[:, b], confidence_level=CONFIDENCE_LEVEL)
        by_seed = tuple(float(one) for one in by_seed_SA[:, a] - by_seed_SA[:, b])
        compared.append(Compared(scope, arm, over, float(value_A[a] - value_A[b]), low, high, by_seed))
    return compared


def accuracies(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Code-over-code accuracy of each arm out of sums [..., 2 * arms]: correct codes, then gold or suggested ones."""
    correct, either = sums[..., 0::2], sums[..., 1::2]
    return np.divide(correct, either, out=np.zeros_like(correct), where=either != 0)
