"""Whole trainings: what they register, what they leave behind, and what a kill does not lose."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mlflow.entities import Run
from rich.console import Console
from safetensors.torch import load_file

from clinical_coding.bundle import read_bundle, read_labels
from clinical_coding.data_directory import DataDirectory
from clinical_coding.records import CodedRecord, Split
from governance.versions import list_versions, resolve_version
from training.config import TrainConfig
from training.tracking import open_store
from training.train import train

TRAIN = "from scripts.chartloop import main; main()"
NOTE_TEXT = b"patient was seen today"


def start(config: TrainConfig, data_dir: Path, **optimisation: Any) -> subprocess.Popen[str]:
    """Run ``chartloop train`` in a process of its own."""
    values = config.model_dump(mode="json")
    values["optimisation"] |= optimisation
    path = data_dir.parent / "train.yaml"
    path.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-c", TRAIN, "train", "--config", str(path), "--data-dir", str(data_dir)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, complaints = process.communicate(timeout=180)
    assert process.returncode == 0, complaints
    return json.loads(out.splitlines()[-1])


def kill_at_checkpoint(process: subprocess.Popen[str], folder: Path, stage: str) -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob(f"*/{stage}/step-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def runs_of(data_dir: Path) -> list[Run]:
    client = open_store(DataDirectory.locate(data_dir))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments))


def curve(data_dir: Path, run_id: str, name: str) -> list[int]:
    history = open_store(DataDirectory.locate(data_dir)).get_metric_history(run_id, name)
    return sorted(point.step for point in history)


def assert_no_note_is_left(data_dir: Path) -> None:
    for path in (data_dir / "checkpoints").rglob("*"):
        assert path.is_dir() or NOTE_TEXT not in path.read_bytes(), path
        assert path.suffix not in {".arrow", ".bin", ".safetensors"}, path


def keys_of(records: list[CodedRecord], split: str) -> set[str]:
    return {key for record in records if record.split == split for key in record.keys()}


def test_a_training_registers_the_refitted_bundle(made_store: Any, made_config: TrainConfig) -> None:
    result = made_store.result
    (version,) = list_versions(data_dir=made_store.data_dir)
    assert (version.number, version.aliases, version.run_id) == (1, ("candidate",), result.run_id)
    assert version.lineage.bundle_sha256 == read_bundle(made_store.bundle)[1] == result.version.bundle_sha256
    (run,) = runs_of(made_store.data_dir)
    assert (run.info.run_id, run.info.status) == (result.run_id, "FINISHED")
    assert curve(made_store.data_dir, result.run_id, "fit.loss")[0] == 1
    # The refit sees all 40 records, in batches of 4, for as many epochs as served the held-out ones best.
    refit = curve(made_store.data_dir, result.run_id, "refit.loss")
    assert refit in ([*range(1, 11)], [*range(1, 21)])


def test_the_label_space_is_that_of_the_training_split(made_store: Any, made_records: list[CodedRecord]) -> None:
    labels = {label.key for label in read_labels(made_store.bundle)}
    assert labels == keys_of(made_records, "train")
    assert keys_of(made_records, "dev") - labels and keys_of(made_records, "test") - labels
    manifest = json.loads((made_store.bundle / "manifest.json").read_text())
    assert manifest["splits"] == {"train": 40}
    assert manifest["record_ids"] == [record.record_id for record in made_records if record.split == "train"]
    assert manifest["sources"] == ["jsonl:records.jsonl"]


def test_the_dev_split_is_measured_when_it_is_not_trained_on(made_store: Any, made_records: list[CodedRecord]) -> None:
    overall = made_store.result.evaluation.overall
    assert made_store.result.evaluated_on == "dev"
    assert (overall.num_records, overall.num_codes) == (8, sum(len(r.keys()) for r in made_records if r.split == "dev"))


def test_references_are_shares(made_store: Any) -> None:
    reference = read_bundle(made_store.bundle)[0].reference
    assert reference.keys() == {"note_tokens", "codes", "best_confidence"}
    for histogram in reference.values():
        assert sum(histogram.values()) == pytest.approx(1.0)


def test_nothing_of_the_notes_is_left(made_store: Any) -> None:
    assert_no_note_is_left(made_store.data_dir)


def test_held_out_patients_are_measured_when_dev_is_trained_on(
    made_config: TrainConfig, made_records: list[CodedRecord], data_dir: Path, tmp_path: Path
) -> None:
    lines = Path(made_config.records.removeprefix("jsonl:")).read_text().splitlines()
    path = tmp_path / "some-bad.jsonl"
    path.write_text("\n".join([*lines[:3], '{"record_id": "x"', *lines[3:], '{"record_id": "y"}']) + "\n")
    config = made_config.model_copy(update={"records": f"jsonl:{path}", "splits": (Split.TRAIN, Split.DEV)})
    result = train(config, data_dir=data_dir, console=Console(quiet=True), rejects=tmp_path / "rejects.jsonl")
    assert result.evaluated_on == "held-out"
    assert 0 < result.evaluation.overall.num_records < 48
    bundle = resolve_version("candidate", data_dir=data_dir).folder
    labels = {label.key for label in read_labels(bundle)}
    assert labels == keys_of(made_records, "train") | keys_of(made_records, "dev")
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [4, 54]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"records": "jsonl:/nowhere.jsonl"}, r"names no file at /nowhere\.jsonl"),
        (
            {"calibration_share": 0.0001},
            r"calibration_share 0\.0001 holds out 0 of 40 records; train on more patients whose",
        ),
    ],
)
def test_a_training_that_cannot_begin_says_why(
    made_config: TrainConfig, data_dir: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(made_config.model_copy(update=changes), data_dir=data_dir, console=Console(quiet=True))
    assert not list((data_dir / "checkpoints").glob("incoming-*"))
    assert [run.info.status for run in runs_of(data_dir)] in ([], ["FAILED"])


def test_a_killed_training_goes_on_as_if_nothing_had_been(
    made_config: TrainConfig, made_store: Any, data_dir: Path
) -> None:
    for stage in ("fit", "refit"):
        kill_at_checkpoint(start(made_config, data_dir), data_dir / "checkpoints", stage)
    told = finish(start(made_config, data_dir))
    (run,) = runs_of(data_dir)
    assert (run.info.run_id, run.info.status) == (told["run_id"], "FINISHED")
    assert [version.number for version in list_versions(data_dir=data_dir)] == [1]
    whole = load_file(made_store.bundle / "head.safetensors")
    resumed = load_file(resolve_version("1", data_dir=data_dir).folder / "head.safetensors")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    assert told["metrics"] == made_store.result.evaluation.overall.as_dict()
    for name in ("fit.loss", "refit.loss", "fit.held_out_mean_average_precision"):
        steps = curve(data_dir, told["run_id"], name)
        assert steps == curve(made_store.data_dir, made_store.result.run_id, name)
        assert max(Counter(steps).values()) == 1
    assert_no_note_is_left(data_dir)


def test_two_equal_trainings_at_once_give_two_versions(made_config: TrainConfig, data_dir: Path) -> None:
    # In half precision, so that this path is run whole as well.
    config = made_config.model_copy(update={"refit": False})
    both = [start(config, data_dir, precision="bf16") for _ in range(2)]
    told = [finish(process) for process in both]
    assert {one["version"] for one in told} == {1, 2}
    assert told[0]["metrics"] == told[1]["metrics"]
    assert len({one["run_id"] for one in told}) == 2
    assert [run.info.status for run in runs_of(data_dir)] == ["FINISHED", "FINISHED"]
    for number in ("1", "2"):
        weights = load_file(resolve_version(number, data_dir=data_dir).folder / "encoder" / "model.safetensors")
        assert {value.dtype for value in weights.values()} == {torch.float32}
    assert_no_note_is_left(data_dir)
