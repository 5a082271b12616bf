"""Which labels a training step scores, so that its cost does not grow with the label space.

Shapes: S sampled labels.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LabelSampler"]


class LabelSampler:
    """Chooses the labels that one training step scores, so that its cost does not grow with the label space.

    Positives, adjudicated negatives and their siblings are always scored, with weight 1. Of all other labels
    a random sample stands for the rest: each sampled one weighs as many labels as it stands for, which keeps
    the loss an unbiased estimate of the loss over the whole label space.
    """

    def __init__(self, siblings: Sequence[Sequence[int]], *, num_sampled: int, seed: int):
        """Set up.

        Args:
            siblings: For each label those of its category.
            num_sampled: Labels a step scores; more when the positives and their siblings alone are more.
            seed: Of the random rest; the sample depends on it and on the step, not on what came before.
        """
        self._siblings = siblings
        self._num_sampled = num_sampled
        self._seed = seed

    def sample(self, stated: Iterable[int], *, step: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Choose labels.

        Args:
            stated: Labels that some record of the batch has as positive or negative.
            step: Global step.

        Returns:
            Label indices [S], and the weight [S] of each in the loss.
        """
        certain = set(stated)
        certain |= {sibling for label in tuple(certain) for sibling in self._siblings[label]}
        first = np.array(sorted(certain), dtype=np.int64)
        num_rest = len(self._siblings) - len(first)
        # A quarter of the budget at least goes to the rest: without it the loss would not see the other labels.
        num_random = min(num_rest, max(self._num_sampled - len(first), self._num_sampled // 4))
        ranks = np.random.default_rng([self._seed, step]).choice(num_rest, num_random, replace=False)
        # The label of each rank among the rest, without listing the rest: it is moved up by the firsts below it.
        drawn = ranks + np.searchsorted(first - np.arange(len(first)), ranks, side="right")
        weights = np.ones(len(first) + num_random, dtype=np.float32)
        weights[len(first) :] = num_rest / max(num_random, 1)
        return np.concatenate([first, drawn]), weights
