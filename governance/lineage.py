"""Lineage: what a version was trained on, by the manifest that its training logged (stages 10, 11).

Answers which versions an adjudication went into, and whether records to evaluate on were trained on.
Reads manifests alone: ids and hashes, no records.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from clinical_coding.artefact import describe_errors
from clinical_coding.data_directory import DataDirectory
from clinical_coding.evaluation_set import EvaluatedRecord
from clinical_coding.manifest import Manifest
from clinical_coding.registered_version import MANIFEST_ARTIFACT
from governance.registry import open_registry, read_run_artifact
from governance.versions import RegisteredVersion, list_versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["manifest_of", "parse_manifest", "require_unseen", "versions_trained_on"]


def versions_trained_on(adjudication_id: str, *, data_dir: Path) -> list[RegisteredVersion]:
    """Find the registered versions that an adjudication went into, newest first.

    Versions that were registered by other means than chartloop have no manifest and are passed over.

    Args:
        adjudication_id: The adjudication.
        data_dir: The data directory.

    Raises:
        ValueError: There is no MLflow store yet, or a version's manifest is not there or not its own:
            an answer that passed over it might be wrong.
    """
    directory = DataDirectory.locate(data_dir)
    versions = [version for version in list_versions(data_dir=data_dir) if version.lineage is not None]
    client = open_registry(directory)
    return [v for v in versions if adjudication_id in _read(client, v, directory=directory).adjudication_ids]


def manifest_of(version: RegisteredVersion, *, data_dir: Path) -> Manifest:
    """Read the manifest that a version's training logged.

    Raises:
        ValueError: It is not there, or is not that of the records that trained the version.
    """
    directory = DataDirectory.locate(data_dir)
    return _read(open_registry(directory), version, directory=directory)


def parse_manifest(content: bytes, *, content_sha256: str, version: str) -> Manifest:
    """Read a manifest, and require that it is the version's own.

    Args:
        content: The file.
        content_sha256: Of the records that trained the version, as it was registered with.
        version: What messages call it.

    Raises:
        ValueError: It is malformed, or of other records.
    """
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"manifest of version {version}: {describe_errors(error)}") from None
    if manifest.content_sha256 != content_sha256:
        raise ValueError(
            f"manifest of version {version} has content_sha256 {manifest.content_sha256}, registered was "
            f"{content_sha256}; restore the artefacts from a backup, or train again"
        )
    return manifest


def require_unseen(records: Sequence[EvaluatedRecord], manifest: Manifest, *, version: str) -> None:
    """Refuse to evaluate a version on what it was trained on, by record or by patient.

    Args:
        records: The evaluation set.
        manifest: Of the version's training.
        version: What the message calls it.

    Raises:
        ValueError: A record or a patient is in both, and the message counts them; or the manifest
            names no patients.
    """
    if manifest.record_ids and not manifest.patient_hashes:
        raise ValueError(
            f"manifest of version {version} holds no patient_hashes, so nobody can tell whether it was trained on the "
            "evaluation patients; train the version again"
        )
    trained_ids, trained_patients = set(manifest.record_ids), set(manifest.patient_hashes)
    by_id = {record.record_id for record in records if record.record_id in trained_ids}
    by_patient = {record.record_id for record in records if record.patient_hash in trained_patients}
    if leaked := by_id | by_patient:
        raise ValueError(
            f"{len(leaked):,} of {len(records):,} evaluation records leaked into the training of version {version} "
            f"({len(by_id):,} by record id, {len(by_patient):,} by patient), so it would be measured on what it has "
            "seen; with --records, give records of patients that neither version was trained on"
        )


def _read(client: "MlflowClient", version: RegisteredVersion, *, directory: DataDirectory) -> Manifest:
    if version.run_id is None or version.lineage is None:
        raise ValueError(
            f"version {version.number} was not registered by chartloop: it has no manifest; train it again"
        )
    content = read_run_artifact(client, version.run_id, MANIFEST_ARTIFACT, directory=directory)
    return parse_manifest(content, content_sha256=version.lineage.manifest_sha256, version=str(version.number))
