"""The experiment's statistics on counts whose answer is known, its page, and one seed in small."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from scripts import experiment_design, experiment_page
from scripts.experiment_design import ARMS, Sizes, run_seed
from scripts.experiment_feedback import rows_of
from scripts.experiment_statistics import SCOPES, Compared, accuracies, pooled
from scripts.options import CONFIGS
from training.config import TrainConfig


def test_accuracies_are_ratios_of_sums() -> None:
    assert accuracies(np.array([3.0, 4.0, 0.0, 0.0, 1.0, 2.0])).tolist() == [0.75, 0.0, 0.5]


def _counts(*correct: float, num_encounters: int = 200) -> NDArray[np.float64]:
    """Every encounter has ten codes; the arms' shares of right ones are given, and vary a little between encounters."""
    draw = np.random.default_rng(0)
    columns = []
    for share in correct:
        columns += [draw.binomial(10, share, num_encounters), np.full(num_encounters, 10)]
    return np.array(columns, dtype=np.float64).T


def test_a_difference_that_is_there_is_found_and_none_where_there_is_none() -> None:
    over_v1, over_raw, raw = pooled([_counts(0.5, 0.6, 0.5), _counts(0.5, 0.6, 0.5)], scope="all codes")
    assert 0 < over_v1.low < over_v1.difference < over_v1.high
    assert over_raw.difference == pytest.approx(0.1, abs=0.03)
    assert raw.low < 0 < raw.high
    assert len(raw.by_seed) == 2


def test_an_arm_equal_to_another_on_every_encounter_does_not_differ() -> None:
    counts = _counts(0.5)
    for one in pooled([np.concatenate([counts] * 3, axis=1)], scope="all codes"):
        assert (one.low, one.difference, one.high) == (0, 0, 0)


def _result(seed: int) -> dict[str, Any]:
    counts = np.concatenate([_counts(0.5, 0.6, 0.4)] * 2, axis=1).astype(int)
    simulation = {"judged": {"sim-a": 10}, "found_wrong": {"sim-a": 4}}
    return {
        "seed": seed,
        "counts": {arm: counts[:, [2 * at, 2 * at + 1] * 2].tolist() for at, arm in enumerate(ARMS)},
        "facts": {"simulation": simulation, "num_feedback": 7, "num_labels": 9, "num_differing": 2},
    }


def test_the_page_tells_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment_page, "_DOCS", tmp_path)
    results = [_result(1), _result(2)]
    compared = [Compared(scope, "raw", "version 1", -0.1, -0.12, -0.08, (-0.09, -0.11)) for scope in SCOPES]
    path = experiment_page.write_page(
        results, compared=compared, rows=rows_of(results, compared), sizes=Sizes(300, 700, 400)
    )
    text = path.read_text()
    assert "On habit codes, raw is below version 1." in text
    assert "8 of 20 overrides" in text
    assert "--seeds 2 --first-seed 1 --base 300 --fresh 700 --evaluation 400`" in text
    assert "I10 (Essential (primary) hypertension) is left out" in text
    assert not re.search(r"[{}]", text)
    assert (tmp_path / "feedback-experiment.svg").read_text().startswith("<?xml")


def test_one_seed_in_small(tmp_path: Path, tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps with real parts; the arms learn the same records, and what is done is not done again."""
    configs = tmp_path / "configs"
    configs.mkdir()
    for source in CONFIGS.glob("*.yaml"):
        (configs / source.name).write_text(source.read_text())
    (configs / "train-experiment.yaml").write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    monkeypatch.setattr(experiment_design, "CONFIGS", configs)
    sizes = Sizes(50, 12, 8)
    result = run_seed(900, work=tmp_path, sizes=sizes, num_threads=1)
    assert {arm: len(rows) for arm, rows in result["counts"].items()} == dict.fromkeys(ARMS, 8)
    assert all(0 <= row[0] <= row[1] and 0 <= row[2] <= row[3] for rows in result["counts"].values() for row in rows)
    [folder] = tmp_path.glob("seed-900-*")
    adjudicated, raw = ((folder / arm / "records.jsonl").read_text().splitlines() for arm in ARMS[1:])
    assert len(adjudicated) == len(raw) == 50 + result["facts"]["num_feedback"]
    assert result["facts"]["num_labels"] >= result["facts"]["num_differing"]
    assert run_seed(900, work=tmp_path, sizes=dataclasses.replace(sizes), num_threads=1) == result
