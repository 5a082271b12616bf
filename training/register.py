"""Stage 5: the run's bundle becomes a registered version.

Takes a bundle and the run that made it, gives a version that governance can compare and serving can
load. The bundle is stored as the plain files it is, never pickled, and verified where it arrived.
"""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from clinical_coding.bundle import Bundle, read_bundle
from clinical_coding.data_directory import DataDirectory, path_of_uri
from clinical_coding.metrics import Metrics
from clinical_coding.registered_version import MODEL_NAME, EvaluatedOn, VersionAlias, VersionLineage
from clinical_coding.suggestions import VersionName
from training.tracking import find_run, open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["register_version"]

HEADLINE_METRICS = (
    "num_records",
    "micro_f1",
    "macro_f1",
    "mean_average_precision",
    "precision_at_8",
    "code_over_code_accuracy",
    "exact_match",
)


def register_version(
    run_id: str,
    *,
    bundle_folder: Path,
    data_dir: Path,
    metrics: Metrics,
    evaluated_on: EvaluatedOn,
    alias: VersionAlias | None = VersionAlias.CANDIDATE,
    description: str | None = None,
) -> VersionName:
    """Store a bundle with its run and register it; repeating it for the same run and bundle changes nothing.

    Args:
        run_id: The run that trained the bundle.
        bundle_folder: The bundle on disk.
        data_dir: The data directory.
        metrics: Of the version as a whole; the headline ones become its tags.
        evaluated_on: The records that they were measured on.
        alias: The alias to move to the new version.
        description: One sentence for people.

    Returns:
        The version's name, number, alias and bundle hash.

    Raises:
        ValueError: The bundle is malformed, differs from what arrived in the store, or the run is unknown.
    """
    directory = DataDirectory.locate(data_dir)
    bundle, bundle_sha256 = read_bundle(bundle_folder)
    client = open_store(directory)
    run = find_run(client, run_id)
    source = _upload(client, run, bundle_folder, bundle_sha256=bundle_sha256)
    tags = _lineage(bundle, bundle_sha256=bundle_sha256, metrics=metrics, evaluated_on=evaluated_on).to_tags()
    # Under one lock, so that the alias ends on the higher of two numbers given out at once.
    with directory.lock("registry"):
        _ensure_model(client)
        version = _registered(client, run_id, bundle_sha256=bundle_sha256) or client.create_model_version(
            MODEL_NAME, source, run_id, tags=tags, description=description
        )
        # A resumed training finds its version again, by which time a later one may be the candidate.
        if alias is not None and int(version.version) >= _number_of(client, alias):
            client.set_registered_model_alias(MODEL_NAME, alias.value, str(version.version))
    return VersionName(name=MODEL_NAME, number=int(version.version), alias=alias, bundle_sha256=bundle_sha256)


def _upload(client: "MlflowClient", run: "Run", folder: Path, *, bundle_sha256: str) -> str:
    """Copy the bundle to the run's artefacts, verify what arrived, and give its address."""
    # Named by content: what a killed upload of another bundle left cannot mix with this one.
    name = f"bundle-{bundle_sha256[:16]}"
    source = f"{run.info.artifact_uri}/{name}"
    arrived = path_of_uri(source)
    if arrived is not None and _holds(arrived, bundle_sha256=bundle_sha256):
        return source
    client.log_artifacts(run.info.run_id, str(folder), name)
    with tempfile.TemporaryDirectory() as scratch:
        stored = arrived or Path(client.download_artifacts(run.info.run_id, name, scratch))
        if read_bundle(stored)[1] != bundle_sha256:
            raise ValueError(f"bundle {folder} changed while it was stored as {source}; register it again")
    return source


def _holds(folder: Path, *, bundle_sha256: str) -> bool:
    """Say whether the folder holds the bundle already; remove what a killed upload left there."""
    try:
        return read_bundle(folder)[1] == bundle_sha256
    except ValueError:
        shutil.rmtree(folder, ignore_errors=True)
        return False


def _lineage(bundle: Bundle, *, bundle_sha256: str, metrics: Metrics, evaluated_on: EvaluatedOn) -> VersionLineage:
    return VersionLineage(
        bundle_sha256=bundle_sha256,
        manifest_sha256=bundle.manifest_sha256,
        base_model=f"{bundle.base_model.name}@{bundle.base_model.revision}",
        code_commit=bundle.code_commit,
        evaluated_on=evaluated_on,
        metrics={name: float(getattr(metrics, name)) for name in HEADLINE_METRICS},
    )


def _number_of(client: "MlflowClient", alias: VersionAlias) -> int:
    aliases = client.get_registered_model(MODEL_NAME).aliases
    return int(aliases.get(alias.value, 0))


def _ensure_model(client: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(MODEL_NAME, description="Suggests medical codes from clinical notes.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _registered(client: "MlflowClient", run_id: str, *, bundle_sha256: str) -> "ModelVersion | None":
    """Find the version that a training killed right after registering has already made."""
    versions = client.search_model_versions(f"run_id = '{run_id}'")
    return next((v for v in versions if v.name == MODEL_NAME and v.tags.get("bundle_sha256") == bundle_sha256), None)
