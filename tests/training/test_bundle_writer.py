"""Bundles: whole or not at all, of plain files, and without a trace of the machine that made them."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from safetensors import safe_open

from clinical_coding.bundle import Calibration, read_bundle
from training.config import TrainConfig
from training.model.encoder import load_encoder

CALIBRATION = Calibration(logit_weight=1.0, lexical_weight=1.0, offset=0.0)


@pytest.fixture(scope="module")
def folder(write_model: Any) -> Path:
    return write_model(calibration=CALIBRATION, threshold=0.5)[0]


def test_a_written_bundle_is_read_back(folder: Path, made_config: TrainConfig) -> None:
    bundle, _ = read_bundle(folder)
    assert (bundle.calibration, bundle.threshold) == (CALIBRATION, 0.5)
    assert bundle.base_model == made_config.base_model.identity()
    assert bundle.releases.keys() == {"icd10cm", "cpt", "hcpcs"}


def test_equal_models_make_equal_bundles(folder: Path, write_model: Any) -> None:
    again = write_model(calibration=CALIBRATION, threshold=0.5)[0]
    assert read_bundle(again)[1] == read_bundle(folder)[1]


@pytest.mark.parametrize("source", ["written", "trained"])
def test_no_path_of_this_machine_and_no_pickle(request: pytest.FixtureRequest, folder: Path, source: str) -> None:
    own = folder if source == "written" else request.getfixturevalue("made_store").bundle
    places = {str(folder.parents[1]), sys.prefix, str(Path.home()), str(Path(__file__).resolve().parents[2])}
    files = [path for path in own.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    for path in files:
        content = path.read_bytes()
        assert not [place for place in places - {"/"} if place.encode() in content], path.name
        if path.suffix == ".json":
            assert not re.search(r'"(/|[A-Za-z]:\\\\)\w+[/\\]', content.decode()), path.name
        else:
            with safe_open(path, framework="np") as tensors:
                assert tensors.keys()


def test_the_adapter_names_the_base_model(folder: Path) -> None:
    settings = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "tests/tiny-bert"
    assert settings["target_modules"] == sorted(settings["target_modules"])


def test_the_adapter_on_the_base_is_the_merged_encoder(folder: Path, made_config: TrainConfig) -> None:
    base = load_encoder(made_config.base_model.locate())
    merged = PeftModel.from_pretrained(base, str(folder / "adapter")).merge_and_unload()
    published = dict(load_encoder(folder / "encoder").named_parameters())
    for name, value in merged.named_parameters():
        # The same float32 sum, made twice.
        assert (value - published[name]).abs().max() <= 1e-6, name


def test_a_bundle_takes_the_place_of_another(write_model: Any, folder: Path) -> None:
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]
