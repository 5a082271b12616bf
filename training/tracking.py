"""The run in MLflow: store set-up, and everything that training logs while it goes.

The store is ``sqlite:///<data_dir>/mlflow.db`` with artefacts in ``<data_dir>/artifacts``; where
``MLFLOW_TRACKING_URI`` is set, that server. No global MLflow state is touched, so two data
directories can be open in one process. Importing MLflow takes seconds, hence the late imports.
Writes are batched: one database write for up to 1,000 metrics. Knows nothing of the model.
"""

import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinical_coding.artefact import publish, sha256_of_json
from clinical_coding.data_directory import DataDirectory, describe_closed_store, quiet_tracking
from clinical_coding.evaluation_set import EvaluatedRecord
from clinical_coding.manifest import Manifest
from clinical_coding.metrics import Evaluation
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord
from clinical_coding.registered_version import (
    EVALUATED_RECORDS_ARTIFACT,
    MANIFEST_ARTIFACT,
    MODEL_NAME,
    PREDICTIONS_ARTIFACT,
)
from training.code_validity import CodeValidity
from training.metric_names import metric_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

__all__ = ["TrackedRun", "find_run", "open_store", "start_run"]

MAX_METRICS_A_BATCH = 1_000
MAX_PARAMS_A_BATCH = 100
MAX_PARAM_CHARACTERS = 6_000
MAX_DIGEST_CHARACTERS = 36
MAX_DATASET_CHARACTERS = 500
CURVE_FLUSH_SECONDS = 5.0
FIGURE_DOTS_PER_INCH = 160


def open_store(directory: DataDirectory) -> "MlflowClient":
    """Open the MLflow store; the first to open the embedded one creates its schema (6 seconds).

    Args:
        directory: The data directory.

    Returns:
        A client of tracking and registry both, safe to use from several threads.

    Raises:
        ValueError: The folder cannot be written, or the database is of another MLflow version.
    """
    quiet_tracking()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    # MLflow creates the tracking schema without a lock of its own: two first starts would collide.
    with directory.lock("mlflow"):
        try:
            client = MlflowClient(directory.tracking_uri, registry_uri=directory.tracking_uri)
            client.search_registered_models(max_results=1)
        except MlflowException as error:
            told = describe_closed_store(directory.tracking_uri, message=error.message, error_code=error.error_code)
            raise ValueError(told) from None
    return client


def _experiment_id(client: "MlflowClient", *, directory: DataDirectory) -> str:
    """Find the experiment that holds all runs; create it when absent, also when another process does so now.

    Raises:
        ValueError: The data directory was moved after the experiment was created.
    """
    from mlflow.exceptions import MlflowException

    if (experiment := client.get_experiment_by_name(MODEL_NAME)) is None:
        try:
            client.create_experiment(MODEL_NAME, artifact_location=directory.artifacts_uri)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = client.get_experiment_by_name(MODEL_NAME)
        assert experiment is not None
    if directory.has_embedded_tracking and experiment.artifact_location != directory.artifacts_uri:
        raise ValueError(
            f"data directory {directory.root} was moved: its runs keep artefacts at {experiment.artifact_location}, "
            f"expected {directory.artifacts_uri}; move it back, or train into a new one with --data-dir"
        )
    return str(experiment.experiment_id)


class TrackedRun:
    """One MLflow run being written; made by :func:`start_run`."""

    def __init__(self, client: "MlflowClient", run_id: str, *, resumed: bool) -> None:
        self.run_id = run_id
        self._client = client
        self._resumed = resumed
        self._last_steps: dict[str, int] = {}
        self._pending: list[Metric] = []
        self._flushed_at = time.monotonic()

    def log_curve(self, step: int, **values: float) -> None:
        """Add one point to each named curve; written every 5 seconds, and at :meth:`flush`.

        A resumed training repeats steps since its checkpoint; points that the run already holds are
        not written twice.

        Args:
            step: Optimiser step or epoch, counted from the start of the training, not of the resumption.
            values: Curve name to value.
        """
        fresh = {name: value for name, value in values.items() if step > self._last_step(name)}
        self._pending += _metrics(fresh, step=step)
        if time.monotonic() - self._flushed_at > CURVE_FLUSH_SECONDS or len(self._pending) >= MAX_METRICS_A_BATCH:
            self.flush()

    def flush(self) -> None:
        """Write pending curve points; call it before each checkpoint, so that a kill leaves no gap."""
        self._write(self._pending)
        self._pending = []
        self._flushed_at = time.monotonic()

    def log_code_validity(self, validity: CodeValidity) -> None:
        """Store what became of codes that are not valid as code-validity.json, and how many in two tags."""
        self._client.log_text(self.run_id, validity.model_dump_json(indent=2), "code-validity.json")
        self._client.set_tag(self.run_id, "codes_mapped", str(validity.num_mapped))
        self._client.set_tag(self.run_id, "codes_dropped", str(validity.num_dropped))

    def log_evaluation(self, evaluation: Evaluation) -> None:
        """Write every metric, on the whole and by slice with its support, and all of it as evaluation.json."""
        self._write(_metrics({metric_name(*path): value for path, value in evaluation.by_path().items()}, step=0))
        self._client.log_text(self.run_id, json.dumps(evaluation.as_dict(), indent=2), "evaluation.json")

    def log_evaluation_set(self, records: Iterable[CodedRecord], predictions: Iterable[Prediction]) -> None:
        """Store what was predicted and what is true of the same records, without notes, line by line."""
        truths = (EvaluatedRecord.of(record) for record in records)
        with tempfile.TemporaryDirectory() as scratch:
            for name, lines in ((PREDICTIONS_ARTIFACT, predictions), (EVALUATED_RECORDS_ARTIFACT, truths)):
                with publish(Path(scratch) / name) as stream:
                    stream.writelines(line.model_dump_json() + "\n" for line in lines)
            self._client.log_artifacts(self.run_id, scratch)

    def log_figures(self, figures: Mapping[str, "Figure"]) -> None:
        """Store figures as ``plots/<name>.png``."""
        for name, figure in figures.items():
            self._client.log_figure(self.run_id, figure, f"plots/{name}.png", save_kwargs={"dpi": FIGURE_DOTS_PER_INCH})

    def curve(self, name: str) -> list[tuple[int, float]]:
        """The points of a curve so far, those before a kill included, by rising step."""
        self.flush()
        history = self._client.get_metric_history(self.run_id, name)
        return sorted((point.step, point.value) for point in history)

    def _last_step(self, name: str) -> int:
        if not self._resumed:
            return -1
        if name not in self._last_steps:
            history = self._client.get_metric_history(self.run_id, name)
            self._last_steps[name] = max((point.step for point in history), default=-1)
        return self._last_steps[name]

    def _write(self, metrics: "list[Metric]") -> None:
        for start in range(0, len(metrics), MAX_METRICS_A_BATCH):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + MAX_METRICS_A_BATCH])


@contextmanager
def start_run(
    config: Mapping[str, Any],
    *,
    data_dir: Path,
    manifest: Manifest,
    dataset: str,
    code_commit: str | None = None,
    run_id: str | None = None,
) -> Iterator[TrackedRun]:
    """Open a run that ends FINISHED, FAILED when the block raises, KILLED when it is interrupted.

    Args:
        config: The resolved configuration, JSON-serialisable.
        data_dir: The data directory.
        manifest: What is trained on.
        dataset: Its name for people, for instance ``codiesp:en/D train``.
        code_commit: Commit of the code, when known.
        run_id: The run to resume after a kill, from the checkpoint.

    Yields:
        The run to write to.

    Raises:
        ValueError: The run to resume is unknown, or was of another configuration or other records.
    """
    directory = DataDirectory.locate(data_dir)
    client = open_store(directory)
    experiment = _experiment_id(client, directory=directory)
    tags = {"config_sha256": sha256_of_json(config), "manifest_sha256": manifest.content_sha256, "dataset": dataset}
    resumed = run_id is not None
    if run_id is not None:
        _reopen(client, run_id, expected=tags)
    else:
        source = {"mlflow.source.git.commit": code_commit} if code_commit else {}
        run_id = client.create_run(experiment, tags=tags | source).info.run_id
    run = TrackedRun(client, run_id, resumed=resumed)
    status = "FAILED"
    try:
        _log_inputs(client, run_id, config=config, manifest=manifest, dataset=dataset)
        yield run
        run.flush()
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        try:
            # The last points before a failure are those that explain it.
            run.flush()
        finally:
            client.set_terminated(run_id, status)


def _reopen(client: "MlflowClient", run_id: str, *, expected: Mapping[str, str]) -> None:
    run = find_run(client, run_id)
    for name, value in expected.items():
        if (found := run.data.tags.get(name)) != value:
            raise ValueError(
                f"run {run_id} cannot be resumed: its {name} is {found}, expected {value}; "
                "resume with the configuration and records it started with, or start a new training"
            )
    client.update_run(run_id, status="RUNNING")


def find_run(client: "MlflowClient", run_id: str) -> "Run":
    """Get a run that is not deleted.

    Raises:
        ValueError: There is none of this id.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise ValueError(f"run {run_id} is unknown to this MLflow store: {error.message}") from None
    if run.info.lifecycle_stage != "active":
        raise ValueError(f"run {run_id} was deleted; restore it in MLflow, or start a new training")
    return run


def _log_inputs(
    client: "MlflowClient", run_id: str, *, config: Mapping[str, Any], manifest: Manifest, dataset: str
) -> None:
    from mlflow.entities import Dataset, DatasetInput, Param

    params = [Param(name, text[:MAX_PARAM_CHARACTERS]) for name, text in _flatten(config)]
    for start in range(0, len(params), MAX_PARAMS_A_BATCH):
        client.log_batch(run_id, params=params[start : start + MAX_PARAMS_A_BATCH])
    client.log_text(run_id, json.dumps(config, indent=2, sort_keys=True), "config.json")
    client.log_text(run_id, manifest.model_dump_json(indent=2), MANIFEST_ARTIFACT)
    digest = manifest.content_sha256[:MAX_DIGEST_CHARACTERS]
    named = Dataset(dataset[:MAX_DATASET_CHARACTERS], digest, "chartloop", json.dumps(manifest.sources))
    client.log_inputs(run_id, [DatasetInput(named, tags=[])])


def _flatten(config: Mapping[str, Any], *, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name every leaf of the configuration by its dotted path; lists stay whole, as JSON."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, prefix=f"{prefix}{key}.")
        else:
            yield metric_name(f"{prefix}{key}"), value if isinstance(value, str) else json.dumps(value)


def _metrics(values: Mapping[str, float], *, step: int) -> "list[Metric]":
    from mlflow.entities import Metric

    now_milliseconds = int(time.time() * 1000)
    return [Metric(name, float(value), now_milliseconds, step) for name, value in values.items()]
