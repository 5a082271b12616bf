"""The run and the version, in a real MLflow on SQLite."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_coding.artefact import sha256_of_json
from clinical_coding.bundle import read_bundle
from clinical_coding.data_directory import TRACKING_URI_VARIABLE, DataDirectory, path_of_uri
from clinical_coding.manifest import Manifest
from clinical_coding.metrics import Evaluation, Metrics
from clinical_coding.registered_version import MODEL_NAME, EvaluatedOn
from training.metric_names import metric_name
from training.register import register_version
from training.tracking import TrackedRun, open_store, start_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

BundleMaker = Callable[[str], Path]
REPOSITORY = Path(__file__).resolve().parents[2]
MANIFEST = Manifest(record_ids=("r1", "r2"), content_sha256="2" * 64, splits={"train": 2}, sources=("sample:2",))
METRICS = Metrics(
    num_records=40,
    num_codes=120,
    num_without_gold=0,
    code_over_code_accuracy=0.4,
    precision=0.6,
    recall=0.5,
    micro_f1=0.55,
    macro_f1=0.3,
    mean_average_precision=0.5,
    precision_at_8=0.25,
    exact_match=0.1,
    num_levels=0,
    level_accuracy=None,
    level_over_coded=None,
    level_under_coded=None,
)
CONFIG = {"records": "sample:2", "lora": {"rank": 16, "layers": [3, 4, 5]}, "note": "é" * 7_000, "seed": 0}


REGISTER_ALL = """
import sys
from pathlib import Path
from tests_register import MANIFEST, METRICS, start
from training.register import register_version

data_dir, *bundles = map(Path, sys.argv[1:])
for bundle in bundles:
    with start(data_dir) as run:
        told = {"data_dir": data_dir, "metrics": METRICS, "evaluated_on": "dev"}
        version = register_version(run.run_id, bundle_folder=bundle, **told)
    print(version.number, run.run_id, version.bundle_sha256)
"""


def start(data_dir: Path, **changes: Any) -> AbstractContextManager[TrackedRun]:
    arguments: dict[str, Any] = {"data_dir": data_dir, "manifest": MANIFEST, "dataset": "two records"}
    return start_run(changes.pop("config", CONFIG), **arguments | changes)


def client_of(data_dir: Path) -> "MlflowClient":
    return open_store(DataDirectory.locate(data_dir))


def artefact(data_dir: Path, run_id: str, name: str) -> Path:
    return data_dir / "artifacts" / run_id / "artifacts" / name


def test_a_run_says_what_it_was_made_of(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with start(Path("..") / data_dir.name, code_commit="abc123") as run:
        pass
    logged = client_of(data_dir).get_run(run.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.data.tags["config_sha256"] == sha256_of_json(CONFIG)
    assert logged.data.tags["manifest_sha256"] == MANIFEST.content_sha256
    assert logged.data.tags["mlflow.source.git.commit"] == "abc123"
    assert logged.data.params["lora.rank"] == "16"
    assert logged.data.params["lora.layers"] == "[3, 4, 5]"
    assert len(logged.data.params["note"]) == 6_000
    assert [put.dataset.name for put in logged.inputs.dataset_inputs] == ["two records"]
    assert json.loads(artefact(data_dir, run.run_id, "config.json").read_text()) == CONFIG
    assert Manifest.model_validate_json(artefact(data_dir, run.run_id, "manifest.json").read_bytes()) == MANIFEST
    assert not list(elsewhere.iterdir()), "MLflow wrote into the working directory"


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_breaks_says_so_and_keeps_its_last_points(
    data_dir: Path, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), start(data_dir) as run:
        run.log_curve(3, loss=0.25)
        raise error
    logged = client_of(data_dir).get_run(run.run_id)
    assert (logged.info.status, logged.data.metrics) == (status, {"loss": 0.25})


def test_curves_are_written_in_batches(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    sizes = []
    write = MlflowClient.log_batch

    def count(self: MlflowClient, *args: Any, **kwargs: Any) -> None:
        sizes.append(len(kwargs.get("metrics", ())))
        write(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", count)
    with start(data_dir) as run:
        sizes.clear()
        for step in range(600):
            run.log_curve(step, loss=1 / (step + 1), learning_rate=1e-3)
    assert sizes == [1_000, 200]
    history = client_of(data_dir).get_metric_history(run.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(step, 1 / (step + 1)) for step in range(600)]


def test_a_resumed_run_goes_on_without_writing_points_twice(data_dir: Path) -> None:
    with pytest.raises(KeyboardInterrupt), start(data_dir) as run:
        for step in range(10):
            run.log_curve(step, loss=10.0 - step)
        raise KeyboardInterrupt
    with start(data_dir, run_id=run.run_id) as resumed:
        for step in range(5, 15):
            resumed.log_curve(step, loss=10.0 - step)
        resumed.log_curve(14, dev_loss=1.0)
        curves = [resumed.curve(name) for name in ("loss", "dev_loss", "never logged")]
    assert curves == [[(step, 10.0 - step) for step in range(15)], [(14, 1.0)], []]
    client = client_of(data_dir)
    assert resumed.run_id == run.run_id
    assert [point.step for point in client.get_metric_history(run.run_id, "loss")] == list(range(15))
    assert [point.step for point in client.get_metric_history(run.run_id, "dev_loss")] == [14]
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_a_run_is_not_resumed_with_other_inputs(data_dir: Path) -> None:
    with start(data_dir) as run:
        pass
    with pytest.raises(ValueError, match=r"its config_sha256 is .*start a new training"):
        start(data_dir, run_id=run.run_id, config=CONFIG | {"seed": 1}).__enter__()
    with pytest.raises(ValueError, match="its manifest_sha256 is"):
        other = MANIFEST.model_copy(update={"content_sha256": "3" * 64})
        start(data_dir, run_id=run.run_id, manifest=other).__enter__()
    with pytest.raises(ValueError, match=f"run {'0' * 32} is unknown"):
        start(data_dir, run_id="0" * 32).__enter__()
    client_of(data_dir).delete_run(run.run_id)
    with pytest.raises(ValueError, match=f"run {run.run_id} was deleted"):
        start(data_dir, run_id=run.run_id).__enter__()


def test_1500_metrics_of_many_slices_are_written_within_3_seconds(data_dir: Path) -> None:
    providers = {f"d{number}": replace(METRICS, num_codes=number) for number in range(124)}
    evaluation = Evaluation(overall=METRICS, slices={"provider": providers, "payer": {"..": METRICS, "a & b": METRICS}})
    with start(data_dir) as run:
        started = time.perf_counter()
        run.log_evaluation(evaluation)
        seconds = time.perf_counter() - started
    logged = client_of(data_dir).get_run(run.run_id).data.metrics
    assert len(logged) == 127 * 12  # the three visit-level ratios have no value here
    assert logged["micro_f1"] == METRICS.micro_f1
    assert logged["provider/d7/num_codes"] == 7
    assert json.loads(artefact(data_dir, run.run_id, "evaluation.json").read_text()) == evaluation.as_dict()
    assert seconds < 3, f"{len(logged)} metrics took {seconds:.1f} s"


@given(st.lists(st.lists(st.text(max_size=300), min_size=3, max_size=3), min_size=2, max_size=2))
@settings(max_examples=200)
def test_metric_names_are_accepted_and_distinct(pair: list[list[str]]) -> None:
    from mlflow.utils.validation import _validate_length_limit, _validate_metric_name

    first, second = (metric_name(*parts) for parts in pair)
    for name in (first, second):
        _validate_metric_name(name)
        _validate_length_limit("metric name", 250, name)
    assert (first == second) == (pair[0] == pair[1])


def test_plain_metric_names_stay_as_they_are() -> None:
    assert metric_name("specialty", "internal medicine", "micro_f1") == "specialty/internal medicine/micro_f1"


def test_figures_are_stored_with_the_run(data_dir: Path) -> None:
    from matplotlib.figure import Figure

    with start(data_dir) as run:
        run.log_figures({"reliability": Figure()})
    assert artefact(data_dir, run.run_id, "plots/reliability.png").read_bytes().startswith(b"\x89PNG")


def test_a_version_holds_the_bundle_and_its_lineage(data_dir: Path, make_bundle: BundleMaker) -> None:
    bundle = make_bundle("first")
    with start(data_dir) as run:
        version = register_version(
            run.run_id, bundle_folder=bundle, data_dir=data_dir, metrics=METRICS, evaluated_on=EvaluatedOn.DEV
        )
    _, sha256 = read_bundle(bundle)
    assert (version.name, version.number, version.alias, version.bundle_sha256) == (MODEL_NAME, 1, "candidate", sha256)
    registered = client_of(data_dir).get_model_version_by_alias(MODEL_NAME, "candidate")
    assert (int(registered.version), registered.run_id) == (1, run.run_id)
    expected = {"bundle_sha256": sha256, "manifest_sha256": "2" * 64, "base_model": "tiny@1", "metric.micro_f1": "0.55"}
    assert expected.items() <= registered.tags.items()
    stored = path_of_uri(registered.source)
    assert stored is not None and stored.is_relative_to(data_dir)
    assert read_bundle(stored)[1] == sha256


def test_registering_again_after_a_kill_makes_no_second_version(data_dir: Path, make_bundle: BundleMaker) -> None:
    bundle = make_bundle("first")
    with start(data_dir) as run:
        first = register_version(
            run.run_id, bundle_folder=bundle, data_dir=data_dir, metrics=METRICS, evaluated_on=EvaluatedOn.DEV
        )
        stored = path_of_uri(client_of(data_dir).get_model_version(MODEL_NAME, "1").source)
        assert stored is not None
        shutil.copy(bundle / "model.safetensors", stored / "left-by-a-killed-upload")
        assert (
            register_version(
                run.run_id, bundle_folder=bundle, data_dir=data_dir, metrics=METRICS, evaluated_on=EvaluatedOn.DEV
            )
            == first
        )
    assert read_bundle(stored)[1] == first.bundle_sha256
    assert len(client_of(data_dir).search_model_versions(f"name = '{MODEL_NAME}'")) == 1


def test_a_resumed_training_leaves_the_alias_on_a_later_version(data_dir: Path, make_bundle: BundleMaker) -> None:
    told = {"data_dir": data_dir, "metrics": METRICS, "evaluated_on": EvaluatedOn.HELD_OUT}
    with start(data_dir) as first:
        register_version(first.run_id, bundle_folder=make_bundle("first"), **told)
        with start(data_dir) as second:
            register_version(second.run_id, bundle_folder=make_bundle("second"), **told)
        register_version(first.run_id, bundle_folder=data_dir.parent / "bundles" / "first", **told)
    assert client_of(data_dir).get_model_version_by_alias(MODEL_NAME, "candidate").version in (2, "2")


def test_a_bundle_with_one_byte_changed_is_not_registered(data_dir: Path, make_bundle: BundleMaker) -> None:
    bundle = make_bundle("first")
    tensors = bundle / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"!")
    with start(data_dir) as run, pytest.raises(ValueError, match=r"bundle file model\.safetensors"):
        register_version(
            run.run_id, bundle_folder=bundle, data_dir=data_dir, metrics=METRICS, evaluated_on=EvaluatedOn.DEV
        )
    assert not client_of(data_dir).search_registered_models()


def test_two_trainings_at_once_lose_no_version(data_dir: Path, make_bundle: BundleMaker, tmp_path: Path) -> None:
    shutil.copy(__file__, tmp_path / "tests_register.py")
    bundles = [[make_bundle(f"{process}-{number}") for number in range(3)] for process in range(2)]
    environment = {"PYTHONPATH": f"{REPOSITORY}:{tmp_path}", "PATH": "/usr/bin:/bin"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", REGISTER_ALL, data_dir, *folders],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for folders in bundles
    ]
    lines = []
    for process in processes:
        output, complaints = process.communicate(timeout=120)
        assert (process.returncode, complaints) == (0, "")
        lines += [tuple(line.split()) for line in output.splitlines()]
    client = client_of(data_dir)
    versions = client.search_model_versions(f"name = '{MODEL_NAME}'")
    assert sorted(lines) == sorted((str(v.version), v.run_id, v.tags["bundle_sha256"]) for v in versions)
    assert sorted(int(number) for number, _, _ in lines) == [1, 2, 3, 4, 5, 6]
    assert len({sha256 for _, _, sha256 in lines}) == 6
    assert int(client.get_model_version_by_alias(MODEL_NAME, "candidate").version) == 6
    for version in versions:
        stored = path_of_uri(version.source)
        assert stored is not None and read_bundle(stored)[1] == version.tags["bundle_sha256"]


def test_a_store_that_cannot_be_opened_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACKING_URI_VARIABLE, "gopher://ada:geheim@127.0.0.1:1/x?password=geheim")
    with pytest.raises(ValueError, match=r"MLflow store gopher://127\.0\.0\.1:1/x cannot be opened: .*") as caught:
        client_of(tmp_path)
    assert "geheim" not in str(caught.value) and "ada" not in str(caught.value)
    assert caught.value.__suppress_context__ and caught.value.__cause__ is None


def test_training_into_a_moved_data_directory_is_refused(data_dir: Path) -> None:
    with start(data_dir):
        pass
    moved = data_dir.rename(data_dir.with_name("moved"))
    with pytest.raises(ValueError, match=r"was moved: .*move it back"):
        start(moved).__enter__()
