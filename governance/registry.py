"""The MLflow registry and its runs, read (and one alias moved) without MLflow's global state.

Where the store lies is the data directory's business; what a version is worth, other modules'.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clinical_coding.data_directory import DataDirectory, describe_closed_store, path_of_uri, quiet_tracking
from clinical_coding.registered_version import MODEL_NAME

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["REMEDY", "aliases_of", "open_registry", "read_run_artifact", "search_versions"]

REMEDY: Final = "train one with `chartloop train`, or name another data directory with --data-dir"


def open_registry(directory: DataDirectory) -> "MlflowClient":
    """Open the store that training made.

    Raises:
        ValueError: There is none yet, or it cannot be opened.
    """
    if directory.has_embedded_tracking and not directory.tracking_database.is_file():
        raise ValueError(f"no version is registered in {directory.root}: there is no mlflow.db; {REMEDY}")
    quiet_tracking()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    # A first training may be creating the schema right now.
    with directory.lock("mlflow"):
        try:
            client = MlflowClient(directory.tracking_uri, registry_uri=directory.tracking_uri)
            client.search_registered_models(max_results=1)
        except MlflowException as error:
            uri = directory.tracking_uri
            raise ValueError(describe_closed_store(uri, message=error.message, error_code=error.error_code)) from None
    return client


def aliases_of(client: "MlflowClient") -> dict[str, int]:
    """Version numbers by alias; empty before the first registration."""
    models = client.search_registered_models(f"name = '{MODEL_NAME}'")
    return {alias: int(number) for model in models for alias, number in model.aliases.items()}


def search_versions(client: "MlflowClient") -> "list[ModelVersion]":
    """All registered versions."""
    versions: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{MODEL_NAME}'", page_token=token)
        versions += page
        token = page.token
        if not token:
            return versions


def read_run_artifact(client: "MlflowClient", run_id: str, name: str, *, directory: DataDirectory) -> bytes:
    """Read a file that a run logged.

    Args:
        client: Of the open store.
        run_id: The run.
        name: The file, relative to the run's artefacts.
        directory: The data directory.

    Raises:
        ValueError: The run or the file is not there, or the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        root = path_of_uri(client.get_run(run_id).info.artifact_uri)
        if root is None:
            with tempfile.TemporaryDirectory() as scratch:
                return Path(client.download_artifacts(run_id, name, scratch)).read_bytes()
        # A data directory may have been moved: MLflow keeps absolute addresses.
        moved = directory.artifacts / run_id / "artifacts"
        return ((moved if moved.exists() and not root.exists() else root) / name).read_bytes()
    except (MlflowException, OSError):
        raise ValueError(
            f"run {run_id} has no readable artefact {name} in this MLflow store; "
            "restore it from a backup, or train the version again"
        ) from None
