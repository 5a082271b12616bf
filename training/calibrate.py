"""From logits to confidences that mean what they say, and the threshold above which a code is suggested.

Both are fitted on training patients that the model was not trained on.

Shapes: N records, L labels, P pairs of record and label.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from clinical_coding.bundle import Calibration
from clinical_coding.metrics import best_threshold
from training.model.calibration import confidences

__all__ = ["calibrate"]

_MAX_PAIRS = 2_000_000
"""Pairs that the calibration is fitted on; of more a random part is taken, every positive among it."""


def calibrate(
    logits_NL: NDArray[Any],
    share_NL: NDArray[Any],
    gold_NL: NDArray[Any],
    known_NL: NDArray[Any],
    *,
    num_gold: int,
    seed: int,
) -> tuple[Calibration, float]:
    """Fit confidence = sigmoid(a * logit + b * lexical share + c) by logistic regression (Platt 1999).

    Args:
        logits_NL: The model's.
        share_NL: The lexical match.
        gold_NL: True where the record has the code.
        known_NL: False where nothing is known of the pair.
        num_gold: Codes of all records, those outside the label space included.
        seed: Of the random part, when there are too many pairs.

    Returns:
        The calibration, and the threshold with the greatest micro-F1 under it.

    Raises:
        ValueError: The held-out records carry no code at all.
    """
    gold_P, features_P2 = gold_NL[known_NL], np.stack([logits_NL[known_NL], share_NL[known_NL]], axis=1)
    if not gold_P.any() or gold_P.all():
        raise ValueError(
            "the held-out records carry no codes to calibrate on; train on more records, or raise calibration_share"
        )
    weights_P = np.ones(len(gold_P))
    if len(gold_P) > _MAX_PAIRS:
        negatives = np.flatnonzero(~gold_P)
        num_drawn = max(_MAX_PAIRS - int(gold_P.sum()), _MAX_PAIRS // 2)
        drawn = np.random.default_rng(seed).choice(negatives, min(num_drawn, len(negatives)), replace=False)
        chosen = np.sort(np.concatenate([np.flatnonzero(gold_P), drawn]))
        weights_P = np.where(gold_P, 1.0, len(negatives) / len(drawn))[chosen]
        gold_P, features_P2 = gold_P[chosen], features_P2[chosen]
    calibration = _fit_weights(features_P2, gold_P, weights_P)
    all_NL = confidences(logits_NL, share_NL, calibration)
    threshold, _ = best_threshold(all_NL[known_NL], gold_NL[known_NL], num_positive=num_gold)
    return calibration, threshold


def _fit_weights(features_P2: NDArray[Any], gold_P: NDArray[Any], weights_P: NDArray[Any]) -> Calibration:
    """Logistic regression whose two weights are never negative: a barely trained model must not be turned around."""
    coefficients, used = np.zeros(2), np.array([True, True])
    while used.any():
        fitted = LogisticRegression(C=1e4, max_iter=1000).fit(features_P2[:, used], gold_P, sample_weight=weights_P)
        if (fitted.coef_ > 0).all():
            coefficients[used] = fitted.coef_[0]
            offset = float(fitted.intercept_[0])
            break
        used[np.flatnonzero(used)[fitted.coef_[0].argmin()]] = False
    else:
        offset = float(np.log(weights_P[gold_P].sum() / weights_P[~gold_P].sum()))
    return Calibration(logit_weight=float(coefficients[0]), lexical_weight=float(coefficients[1]), offset=offset)
