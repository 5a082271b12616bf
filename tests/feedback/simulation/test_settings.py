"""The staff of a simulation is read from YAML, and refused where it makes no sense."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from feedback.simulation.settings import load_simulation

CONFIG = Path(__file__).parents[3] / "configs" / "simulation.yaml"


def test_ten_coders_of_whom_three_have_a_habit() -> None:
    settings = load_simulation(CONFIG)
    habits = [coder.habit for coder in settings.coders if coder.habit is not None]
    assert (len(settings.coders), len(habits)) == (10, 3)
    assert settings.habit_keys() >= {habit.key for habit in habits}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coders": []}, "coders"),
        ({"encounters_a_week": 0}, "encounters_a_week"),
        ({"coders": [{"name": "ada", "miss_rate": 0, "false_override_rate": 0}]}, "coders.0.name"),
        ({"coders": [{"name": "sim-a", "miss_rate": 1.5, "false_override_rate": 0}]}, "coders.0.miss_rate"),
        ({"coders": [{"name": "sim-a", "miss_rate": 0, "false_override_rate": 0}] * 2}, "must be distinct"),
    ],
)
def test_what_makes_no_sense_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "simulation.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(CONFIG.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        load_simulation(path)


@pytest.mark.parametrize(
    ("habit", "message"),
    [
        ({"system": "icd10cm", "code": "I10", "to": "I10"}, "must differ"),
        ({"system": "icd10cm", "code": "I10", "to": "99213"}, "is not a code of icd10cm"),
    ],
)
def test_a_habit_is_between_two_codes_of_one_system(habit: dict[str, str], message: str, tmp_path: Path) -> None:
    coder = {"name": "sim-a", "miss_rate": 0, "false_override_rate": 0, "habit": habit}
    path = tmp_path / "simulation.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(CONFIG.read_text()) | {"coders": [coder]}))
    with pytest.raises(ValueError, match=message):
        load_simulation(path)


@pytest.mark.parametrize("content", [None, "coders: ["])
def test_a_file_that_cannot_be_read_is_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "simulation.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"simulation\.yaml"):
        load_simulation(path)
