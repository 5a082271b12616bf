"""Versions found by name, in a real MLflow on SQLite and behind a real tracking server."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clinical_coding.bundle import read_bundle
from clinical_coding.data_directory import TRACKING_URI_VARIABLE, DataDirectory
from clinical_coding.manifest import Manifest
from clinical_coding.metrics import evaluate
from clinical_coding.registered_version import MODEL_NAME, EvaluatedOn, VersionLineage
from governance.versions import list_versions, resolve_default, resolve_version
from training.register import register_version
from training.tracking import start_run

BundleMaker = Callable[[str], Path]
METRICS = {"micro_f1": 0.55, "mean_average_precision": 0.5}


def register(data_dir: Path, bundle: Path, *, aliases: tuple[str, ...] = ()) -> int:
    """Register a bundle as training does, without training."""
    from mlflow import MlflowClient

    directory = DataDirectory.locate(data_dir)
    client = MlflowClient(directory.tracking_uri, registry_uri=directory.tracking_uri)
    if (experiment := client.get_experiment_by_name(MODEL_NAME)) is None:
        client.create_experiment(MODEL_NAME, artifact_location=directory.artifacts_uri)
        client.create_registered_model(MODEL_NAME)
        experiment = client.get_experiment_by_name(MODEL_NAME)
        assert experiment is not None
    run = client.create_run(experiment.experiment_id)
    client.log_artifacts(run.info.run_id, str(bundle), "bundle")
    lineage = VersionLineage(
        bundle_sha256=read_bundle(bundle)[1],
        manifest_sha256="2" * 64,
        base_model="tiny@1",
        code_commit=None,
        evaluated_on=EvaluatedOn.DEV,
        metrics=METRICS,
    )
    source = f"{run.info.artifact_uri}/bundle"
    version = client.create_model_version(MODEL_NAME, source, run.info.run_id, tags=lineage.to_tags())
    for alias in aliases:
        client.set_registered_model_alias(MODEL_NAME, alias, str(version.version))
    return int(version.version)


def test_versions_are_listed_newest_first_with_what_they_are(data_dir: Path, make_bundle: BundleMaker) -> None:
    register(data_dir, make_bundle("one"), aliases=("champion", "challenger"))
    register(data_dir, make_bundle("two"))
    second, first = list_versions(data_dir=data_dir)
    assert (first.number, first.aliases, second.number, second.aliases) == (1, ("challenger", "champion"), 2, ())
    assert first.lineage is not None
    assert (first.lineage.metrics, first.lineage.base_model) == (METRICS, "tiny@1")
    assert timedelta(0) <= datetime.now(UTC) - second.created < timedelta(minutes=5)


def test_a_version_is_found_by_alias_number_and_path(data_dir: Path, make_bundle: BundleMaker) -> None:
    bundle = make_bundle("one")
    _, sha256 = read_bundle(bundle)
    register(data_dir, bundle, aliases=("candidate",))
    by_alias = resolve_version("candidate", data_dir=data_dir)
    by_number = resolve_version("1", data_dir=data_dir)
    by_path = resolve_version(str(bundle), data_dir=data_dir)
    assert by_alias.folder == by_number.folder and by_alias.folder.is_relative_to(data_dir / "artifacts")
    assert by_path.folder == bundle.resolve()
    names = [(found.version.number, found.version.alias) for found in (by_alias, by_number, by_path)]
    assert names == [(1, "candidate"), (1, None), (None, None)]
    assert {found.version.bundle_sha256 for found in (by_alias, by_number, by_path)} == {sha256}


def test_the_champion_goes_before_the_candidate(data_dir: Path, make_bundle: BundleMaker) -> None:
    register(data_dir, make_bundle("one"), aliases=("candidate",))
    assert resolve_default(data_dir=data_dir).version.alias == "candidate"
    register(data_dir, make_bundle("two"), aliases=("champion",))
    default = resolve_default(data_dir=data_dir).version
    assert (default.alias, default.number) == ("champion", 2)


def test_what_is_not_there_is_answered_with_what_is(data_dir: Path, make_bundle: BundleMaker) -> None:
    for call in (lambda: resolve_version("champion", data_dir=data_dir), lambda: resolve_default(data_dir=data_dir)):
        with pytest.raises(ValueError, match=r"nothing is; train one with `chartloop train`"):
            call()
    assert list_versions(data_dir=data_dir) == []
    register(data_dir, make_bundle("one"), aliases=("challenger",))
    there = r"registered are the aliases challenger \(version 1\) and the numbers 1"
    with pytest.raises(ValueError, match="'champion' is not registered .*" + there):
        resolve_version("champion", data_dir=data_dir)
    with pytest.raises(ValueError, match="'7' is not registered .*" + there):
        resolve_version("7", data_dir=data_dir)
    with pytest.raises(ValueError, match="neither champion nor candidate .*" + there):
        resolve_default(data_dir=data_dir)
    with pytest.raises(ValueError, match="version 'champoin' is neither champion, candidate, challenger, nor a number"):
        resolve_version("champoin", data_dir=data_dir)


@pytest.mark.parametrize("uri", ["gopher://ada:geheim@127.0.0.1:1/x?password=geheim", "gopher://127.0.0.1:1/x"])
def test_a_store_that_cannot_be_opened_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv(TRACKING_URI_VARIABLE, uri)
    with pytest.raises(ValueError, match=r"MLflow store gopher://127\.0\.0\.1:1/x cannot be opened: .*") as caught:
        list_versions(data_dir=tmp_path)
    assert "geheim" not in str(caught.value) and "ada" not in str(caught.value)
    assert caught.value.__suppress_context__ and caught.value.__cause__ is None


def test_without_a_store_nothing_is_created(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no mlflow\.db; train one with `chartloop train`"):
        list_versions(data_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_changed_bundle_is_refused(data_dir: Path, make_bundle: BundleMaker) -> None:
    register(data_dir, make_bundle("one"), aliases=("candidate",))
    folder = resolve_version("candidate", data_dir=data_dir).folder
    (folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"bundle file model\.safetensors"):
        resolve_version("candidate", data_dir=data_dir)
    shutil.rmtree(folder)
    shutil.copytree(make_bundle("two"), folder)
    with pytest.raises(ValueError, match=r"registered was .*restore the artefacts"):
        resolve_version("candidate", data_dir=data_dir)
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match="no model bundle at"):
        resolve_version("candidate", data_dir=data_dir)


def test_a_version_from_elsewhere_is_shown_but_not_served(data_dir: Path, make_bundle: BundleMaker) -> None:
    from mlflow import MlflowClient

    register(data_dir, make_bundle("one"), aliases=("candidate",))
    uri = DataDirectory.locate(data_dir).tracking_uri
    MlflowClient(uri, registry_uri=uri).create_model_version(MODEL_NAME, "file:///elsewhere")
    foreign, ours = list_versions(data_dir=data_dir)
    assert foreign.lineage is None and ours.lineage is not None
    with pytest.raises(ValueError, match=r"version 2 was not registered by chartloop: .*bundle_sha256"):
        resolve_version("2", data_dir=data_dir)


def test_a_moved_data_directory_still_resolves(data_dir: Path, make_bundle: BundleMaker) -> None:
    register(data_dir, make_bundle("one"), aliases=("champion",))
    moved = data_dir.rename(data_dir.with_name("moved"))
    assert resolve_version("champion", data_dir=moved).folder.is_relative_to(moved)


@pytest.fixture
def server(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real tracking server that keeps artefacts itself, as production has it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", DataDirectory.locate(data_dir).tracking_uri]
    command += ["--artifacts-destination", str(data_dir / "remote")]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (data_dir / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            _wait_until_healthy(uri, process)
            monkeypatch.setenv(TRACKING_URI_VARIABLE, uri)
            yield uri
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_until_healthy(uri: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=2):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError("the MLflow server did not start")


@pytest.mark.usefixtures("server")
def test_a_version_behind_a_server_is_registered_fetched_once_and_verified(
    make_bundle: BundleMaker, tmp_path: Path, data_dir: Path
) -> None:
    training_machine, serving_machine, store = tmp_path / "training", tmp_path / "serving", data_dir / "remote"
    bundle = make_bundle("one")
    manifest = Manifest(record_ids=("r1",), content_sha256="2" * 64, splits={"train": 1}, sources=("sample:1",))
    with start_run({"seed": 0}, data_dir=training_machine, manifest=manifest, dataset="one") as run:
        registered = register_version(
            run.run_id,
            bundle_folder=bundle,
            data_dir=training_machine,
            metrics=evaluate([], []).overall,
            evaluated_on=EvaluatedOn.HELD_OUT,
        )
    found = resolve_version("candidate", data_dir=serving_machine)
    assert found.version == registered
    assert found.folder == serving_machine / "cache" / "bundles" / registered.bundle_sha256
    store.rename(store.with_name("away"))
    assert resolve_version("candidate", data_dir=serving_machine) == found, "the cached bundle was fetched again"
    store.with_name("away").rename(store)
    (found.folder / "model.safetensors").write_bytes(b"damaged in the cache")
    assert resolve_default(data_dir=serving_machine) == found
    assert read_bundle(found.folder)[1] == registered.bundle_sha256
    shutil.rmtree(found.folder)
    shutil.copytree(make_bundle("two"), found.folder)
    assert resolve_version("candidate", data_dir=serving_machine) == found, "another bundle in its place was served"
    assert read_bundle(found.folder)[1] == registered.bundle_sha256
    shutil.rmtree(found.folder)
    [stored] = store.rglob("bundle.json")
    shutil.copytree(make_bundle("three"), stored.parent, dirs_exist_ok=True)
    with pytest.raises(ValueError, match=r"registered was .*restore the artefacts"):
        resolve_version("candidate", data_dir=serving_machine)
    assert not found.folder.exists()
