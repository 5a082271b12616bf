"""Training configurations: the committed ones load, wrong ones are named."""

from pathlib import Path

import pytest
import yaml

from training.config import TrainConfig, load_config

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("train-*.yaml"))


@pytest.fixture
def values() -> dict[str, object]:
    return yaml.safe_load(CONFIGS[0].read_text())


def write(path: Path, values: object) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_committed_configuration_loads(path: Path) -> None:
    config = load_config(path)
    assert config.model_dump(mode="json").keys() == yaml.safe_load(path.read_text()).keys()
    assert config.base_model.sha256 is not None


def test_there_are_configurations() -> None:
    assert {path.name for path in CONFIGS} >= {"train-sample.yaml", "train-codiesp.yaml"}


def test_changes_take_the_place_of_values() -> None:
    config = load_config(CONFIGS[0], records="sample:7", splits=("train", "dev"))
    assert (config.records, config.splits) == ("sample:7", ("train", "dev"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1}, "learning_rate: Extra inputs are not permitted"),
        ({"seed": None}, "seed: Input should be a valid integer"),
        ({"calibration_share": 1.0}, "calibration_share: Input should be less than 1"),
        ({"splits": ["train", "devel"]}, r"splits\.1: Input should be 'train', 'dev' or 'test'"),
        ({"windowing": {"max_window_tokens": 4, "max_windows": 1}}, r"windowing\.max_window_tokens: Input should be"),
    ],
)
def test_a_wrong_field_is_named(
    values: dict[str, object], tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = write(tmp_path / "wrong.yaml", values | changes)
    with pytest.raises(ValueError, match=message) as raised:
        load_config(path)
    assert str(path) in str(raised.value)


def test_a_missing_field_is_named(values: dict[str, object], tmp_path: Path) -> None:
    del values["lora"]
    with pytest.raises(ValueError, match="lora: Field required"):
        load_config(write(tmp_path / "short.yaml", values))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.yaml does not exist; .*configs/"):
        load_config(tmp_path / "nowhere.yaml")


def test_text_that_is_no_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("records: sample:5\nsplits: [train\n")
    with pytest.raises(ValueError, match=r"bad\.yaml is not valid YAML at line 3"):
        load_config(path)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_yaml_without_fields_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"holds no fields; compare it with configs/train-sample\.yaml"):
        load_config(path)


def test_the_configuration_survives_json(values: dict[str, object]) -> None:
    config = TrainConfig.model_validate(values)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
