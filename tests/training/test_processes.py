"""Training in two processes, as ``accelerate launch`` starts it, beside training in one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from safetensors.torch import load_file

from clinical_coding.data_directory import DataDirectory
from governance.versions import list_versions, resolve_version
from training.config import TrainConfig
from training.tracking import open_store
from training.train import train

LAUNCH = [
    "--cpu",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
    "--dynamo_backend",
    "no",
    "--main_process_port",
    "0",
]


def launch(config: Path, data_dir: Path) -> subprocess.Popen[str]:
    """Two processes, in a group of their own."""
    command = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH, "--num_processes", "2"]
    command += ["--module", "scripts.chartloop", "train", "--config", str(config), "--data-dir", str(data_dir)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def kill_at_checkpoint(launched: subprocess.Popen[str], data_dir: Path) -> None:
    deadline = time.monotonic() + 120
    while not list((data_dir / "checkpoints").glob("*/fit/step-*")):
        assert launched.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(launched.pid, signal.SIGKILL)
    launched.communicate()


def losses(data_dir: Path, run_id: str, stage: str) -> list[float]:
    history = open_store(DataDirectory.locate(data_dir)).get_metric_history(run_id, f"{stage}.loss")
    return [point.value for point in sorted(history, key=lambda point: point.step)]


@pytest.fixture
def quiet_config(made_config: TrainConfig, tmp_path: Path) -> Iterator[tuple[TrainConfig, Path]]:
    """Without dropout, which each process draws for its own records; five records do not part evenly."""
    # The tiny encoder's own rates are in its configuration file.
    folder = tmp_path / "encoder"
    folder.mkdir()
    assert made_config.base_model.folder is not None
    for path in made_config.base_model.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"hidden_dropout_prob": 0.0}))
    options = {"batch_records": 5, "max_tokens_a_pass": 300}
    config = made_config.model_copy(
        update={
            "base_model": made_config.base_model.model_copy(update={"folder": folder}),
            "lora": made_config.lora.model_copy(update={"dropout": 0.0}),
            "optimisation": made_config.optimisation.model_copy(update=options),
        }
    )
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    yield config, path


def test_two_processes_killed_once_give_what_one_gives(quiet_config: Any, data_dir: Path, tmp_path: Path) -> None:
    config, path = quiet_config
    alone = tmp_path / "alone" / data_dir.name
    alone.mkdir(parents=True)
    (alone / "mlflow.db").write_bytes((data_dir / "mlflow.db").read_bytes())
    expected = train(config, data_dir=alone, console=Console(quiet=True))

    kill_at_checkpoint(launch(path, data_dir), data_dir)
    out, complaints = launch(path, data_dir).communicate(timeout=240)
    told = json.loads(out.splitlines()[-1])
    # The first process alone registers and prints.
    assert out.count('"run_id"') == 1, complaints
    assert [version.number for version in list_versions(data_dir=data_dir)] == [1]
    for stage in ("fit", "refit"):
        assert losses(data_dir, told["run_id"], stage) == pytest.approx(losses(alone, expected.run_id, stage), rel=1e-5)
    ours, theirs = (
        load_file(resolve_version("1", data_dir=one).folder / "head.safetensors") for one in (data_dir, alone)
    )
    for name, value in ours.items():
        assert (value - theirs[name]).abs().max() < 1e-4, name
    assert [path.name for path in (data_dir / "checkpoints").glob("*/*")] == [".lock"]


def test_each_process_goes_on_with_its_own_dropout_after_a_kill(
    made_config: TrainConfig, empty_store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "train.yaml"
    config = made_config.model_copy(update={"refit": False})
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    curves = []
    for name in ("whole", "killed"):
        data_dir = tmp_path / name
        data_dir.mkdir()
        (data_dir / "mlflow.db").write_bytes((empty_store / "mlflow.db").read_bytes())
        if name == "killed":
            kill_at_checkpoint(launch(path, data_dir), data_dir)
        out, complaints = launch(path, data_dir).communicate(timeout=240)
        assert out, complaints
        curves.append(losses(data_dir, json.loads(out.splitlines()[-1])["run_id"], "fit"))
    assert curves[0] == curves[1]


def test_an_error_of_the_first_ends_the_others(quiet_config: Any, data_dir: Path) -> None:
    config, path = quiet_config
    path.write_text(yaml.safe_dump(config.model_dump(mode="json") | {"records": "jsonl:/nowhere.jsonl"}))
    launched = launch(path, data_dir)
    out, complaints = launched.communicate(timeout=120)
    assert launched.returncode != 0
    assert "/nowhere.jsonl" in complaints
    assert not out
