"""Which codes the model can suggest, the words that stand for them, and which of them a step trains.

The label space is made from training records alone; it never sees a held-out split.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical_coding.artefact import sha256_of_json
from clinical_coding.bundle import Label
from clinical_coding.code_library import describe, load_icd10cm
from clinical_coding.codes import Code, CodeState, CodeSystem, split_key

__all__ = ["LabelSampler", "LabelSpace", "build_label_space"]


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """The labels in the order of the model's outputs."""

    labels: tuple[Label, ...]
    terms: tuple[tuple[str, ...], ...]
    """For each label its description and inclusion terms; the bare code where there is no description."""
    index: dict[str, int]
    """Label key to position."""

    @property
    def sha256(self) -> str:
        """Hash of the ordered labels."""
        return sha256_of_json([label.model_dump(mode="json") for label in self.labels])

    def siblings(self) -> list[list[int]]:
        """For each label the others of its category: the codes it is confused with."""
        families = defaultdict(list)
        for position, label in enumerate(self.labels):
            families[(label.system, label.code[:3])].append(position)
        return [
            [other for other in families[(label.system, label.code[:3])] if other != position]
            for position, label in enumerate(self.labels)
        ]


def build_label_space(codes: Iterable[Code]) -> LabelSpace:
    """Make the label space of the codes that training records carry.

    Args:
        codes: The codes of every training record; those in state unknown found no label on their own.
    """
    releases: dict[str, Counter[str | None]] = defaultdict(Counter)
    for code in codes:
        if code.state is not CodeState.UNKNOWN:
            releases[code.key][code.release] += 1
    library = load_icd10cm()
    labels, terms = [], []
    for key in sorted(releases):
        system, number = split_key(key)
        release = releases[key].most_common(1)[0][0]
        description = describe(system, number, release)
        labels.append(Label(system=system, release=release, code=number, description=description))
        entry = library.get(number) if system is CodeSystem.ICD10CM else None
        terms.append((description or f"{system} {number}", *(entry.inclusion_terms if entry else ())))
    return LabelSpace(tuple(labels), tuple(terms), {label.key: at for at, label in enumerate(labels)})


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
        rest = np.setdiff1d(np.arange(len(self._siblings)), first)
        # A quarter of the budget at least goes to the rest: without it the loss would not see the other labels.
        num_random = min(len(rest), max(self._num_sampled - len(first), self._num_sampled // 4))
        drawn = np.random.default_rng([self._seed, step]).choice(rest, num_random, replace=False)
        weights = np.ones(len(first) + num_random, dtype=np.float32)
        weights[len(first) :] = len(rest) / max(num_random, 1)
        return np.concatenate([first, drawn]), weights
