"""Calibration: known parameters found again, and the threshold with the greatest micro-F1."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from clinical_coding.bundle import Calibration
from training import calibrate as module
from training.calibrate import calibrate
from training.model.calibration import confidences

TRUE = Calibration(logit_weight=0.7, lexical_weight=2.0, offset=-1.5)
SHAPE = (400, 60)
NUM_GOLD = 4_000
"""About as many as the synthetic pairs hold; only the threshold depends on it."""


def synthetic(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    logits_NL, share_NL = draw.normal(-2, 2, SHAPE), draw.uniform(0, 1, SHAPE)
    gold_NL = draw.random(SHAPE) < confidences(logits_NL, share_NL, TRUE)
    return logits_NL, share_NL, gold_NL, np.ones(SHAPE, dtype=bool)


def check_found(found: Calibration) -> None:
    # 24,000 pairs: standard errors are about 0.015 for the weight of the logit, 0.07 for the lexical, 0.05 below.
    assert found.logit_weight == pytest.approx(TRUE.logit_weight, abs=0.06)
    assert found.lexical_weight == pytest.approx(TRUE.lexical_weight, abs=0.25)
    assert found.offset == pytest.approx(TRUE.offset, abs=0.2)


def test_known_parameters_are_found_again() -> None:
    found, _ = calibrate(*synthetic(), num_gold=NUM_GOLD, seed=0)
    check_found(found)


def test_the_threshold_has_the_greatest_micro_f1() -> None:
    logits_NL, share_NL, gold_NL, known_NL = synthetic()
    found, threshold = calibrate(logits_NL, share_NL, gold_NL, known_NL, num_gold=int(gold_NL.sum()), seed=0)
    confidence_P = confidences(logits_NL, share_NL, found).ravel()
    chosen = f1_score(gold_NL.ravel(), confidence_P >= threshold)
    for other in np.quantile(confidence_P, np.linspace(0, 1, 200)):
        assert f1_score(gold_NL.ravel(), confidence_P >= other) <= chosen


def test_unknown_pairs_are_left_out() -> None:
    logits_NL, share_NL, gold_NL, known_NL = synthetic()
    draw = np.random.default_rng(1)
    known_NL &= draw.random(SHAPE) < 0.5
    spoiled_NL = np.where(known_NL, gold_NL, False)
    found = calibrate(logits_NL, share_NL, gold_NL, known_NL, num_gold=NUM_GOLD, seed=0)
    assert calibrate(logits_NL, share_NL, spoiled_NL, known_NL, num_gold=NUM_GOLD, seed=0) == found
    # Taken for negatives they would change it.
    assert calibrate(logits_NL, share_NL, spoiled_NL, np.ones(SHAPE, dtype=bool), num_gold=NUM_GOLD, seed=0) != found


def test_a_part_of_many_pairs_gives_the_same_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    logits_NL, share_NL, gold_NL, known_NL = synthetic()
    monkeypatch.setattr(module, "_MAX_PAIRS", int(gold_NL.sum()) + 6000)
    check_found(calibrate(logits_NL, share_NL, gold_NL, known_NL, num_gold=NUM_GOLD, seed=0)[0])


def test_records_without_codes_are_refused() -> None:
    logits_NL, share_NL, gold_NL, known_NL = synthetic()
    with pytest.raises(ValueError, match="no codes to calibrate on; train on more records, or raise calibration_share"):
        calibrate(logits_NL, share_NL, np.zeros_like(gold_NL), known_NL, num_gold=NUM_GOLD, seed=0)


def test_codes_outside_the_label_space_lower_the_threshold() -> None:
    logits_NL, share_NL, gold_NL, known_NL = synthetic()
    inside = int(gold_NL.sum())
    _, threshold = calibrate(logits_NL, share_NL, gold_NL, known_NL, num_gold=inside, seed=0)
    # With many codes missed whatever is done, a wrong suggestion costs less of the F1.
    _, lower = calibrate(logits_NL, share_NL, gold_NL, known_NL, num_gold=3 * inside, seed=0)
    assert lower < threshold


def test_a_model_that_ranks_the_wrong_way_is_not_turned_around() -> None:
    logits_NL, share_NL, gold_NL, known_NL = synthetic()
    found, _ = calibrate(-logits_NL, share_NL, gold_NL, known_NL, num_gold=NUM_GOLD, seed=0)
    assert found.logit_weight == 0
    assert found.lexical_weight > 0
    found, _ = calibrate(-logits_NL, -share_NL, gold_NL, known_NL, num_gold=NUM_GOLD, seed=0)
    assert (found.logit_weight, found.lexical_weight) == (0, 0)
    assert 1 / (1 + np.exp(-found.offset)) == pytest.approx(gold_NL.mean(), abs=1e-9)
