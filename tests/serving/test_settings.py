from pathlib import Path

import pytest
import yaml

from serving.fallback.settings import FallbackSettings
from serving.settings import ServingSettings, load_serving

CONFIGS = Path(__file__).parents[2] / "configs"


def test_serving_yaml_states_every_default() -> None:
    path = CONFIGS / "serving.yaml"
    assert load_serving(path) == ServingSettings()
    assert yaml.safe_load(path.read_text()) == ServingSettings().model_dump(mode="json")


def test_what_a_file_leaves_out_keeps_its_default(tmp_path: Path) -> None:
    path = tmp_path / "serving.yaml"
    path.write_text("fallback: {mode: 'off'}\n")
    assert load_serving(path) == ServingSettings(fallback=FallbackSettings(mode="off"))
    path.write_text("")
    assert load_serving(path) == ServingSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gateway: {deadline_secs: 3}", r"serving\.yaml: gateway\.deadline_secs: Extra inputs are not permitted"),
        ("gateway: {deadline_seconds: 0}", r"gateway\.deadline_seconds: Input should be greater than 0"),
        ("fallback: {mode: hot}", r"fallback\.mode: Input should be 'warm', 'cold' or 'off'"),
        ("[1, 2]", "record: Input should be a valid dictionary"),
        ("a: [", r"serving\.yaml is not YAML"),
    ],
)
def test_wrong_settings_name_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "serving.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_serving(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml cannot be read \(No such file or directory\); name another"):
        load_serving(tmp_path / "none.yaml")
