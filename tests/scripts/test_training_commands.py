"""``chartloop train --manifest``: an exported training set trains, the named records measure."""

from pathlib import Path
from typing import Any

import yaml

from clinical_coding.manifest import Manifest
from clinical_coding.readers import read_records, write_jsonl
from clinical_coding.records import Split
from training.dataset import store_records

CONFIG = Path(__file__).parents[2] / "configs" / "train-sample.yaml"


def write_training_set(folder: Path, spec: str) -> Manifest:
    records = list(read_records(spec, splits=(Split.TRAIN,)))
    manifest = store_records(records, sources=["feedback", spec], path=folder / "scratch.arrow")
    write_jsonl(records, folder / "records.jsonl")
    (folder / "manifest.json").write_text(manifest.model_dump_json() + "\n")
    return manifest


def test_train_takes_a_training_set(chartloop: Any, tiny_config: Any, data_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    folder = tmp_path / "set"
    manifest = write_training_set(folder, "sample:30")
    arguments = ("train", "--config", config, "--manifest", folder, "--data-dir", data_dir)
    told = chartloop(*arguments, "--splits", "train")
    assert told.code != 0
    assert "--splits cannot be given with --manifest" in told.err
    told = chartloop(*arguments, "--records", "sample:60")
    assert told.code == 0, told.err
    assert told.json["evaluated_on"] == "dev"
    assert told.json["metrics"]["num_records"] == len(list(read_records("sample:60", splits=(Split.DEV,))))
    (bundle,) = (data_dir / "artifacts").glob("*/artifacts/bundle-*")
    assert Manifest.model_validate_json((bundle / "manifest.json").read_bytes()) == manifest


def test_a_training_set_that_is_none_is_refused(chartloop: Any, data_dir: Path, tmp_path: Path) -> None:
    told = chartloop("train", "--config", CONFIG, "--manifest", tmp_path / "none", "--data-dir", data_dir)
    assert told.code != 0
    assert "none has no manifest.json; name a folder that `chartloop feedback export` wrote" in told.err
    assert "Traceback" not in told.err
