"""What registered versions were measured on, as their trainings logged it (stage 11).

Gathers what a comparison needs, from the registry alone: no model runs here. Predicting other
records is the command line's business.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from clinical_coding.artefact import Artefact, describe_errors
from clinical_coding.bundle import read_bundle
from clinical_coding.comparisons import ComparedVersion, Comparison
from clinical_coding.data_directory import DataDirectory
from clinical_coding.evaluation_set import EvaluatedRecord
from clinical_coding.manifest import Manifest
from clinical_coding.predictions import Prediction
from clinical_coding.registered_version import EVALUATED_RECORDS_ARTIFACT, PREDICTIONS_ARTIFACT
from governance.comparison import Measured, compare
from governance.lineage import manifest_of, parse_manifest, require_unseen
from governance.registry import open_registry, read_run_artifact
from governance.versions import ResolvedVersion, find_version, is_registered_reference

__all__ = ["compare_logged", "describe_bundle", "manifest_of_bundle"]

Line = TypeVar("Line", bound=Artefact)


def compare_logged(a: str, b: str, *, data_dir: Path) -> Comparison:
    """Compare two registered versions on the records that both were measured on when they were trained.

    Args:
        a: Reference to the one to compare with.
        b: Reference to the one that is judged.
        data_dir: The data directory.

    Raises:
        ValueError: A version is not registered or logged nothing, they were measured on different
            records, or either was trained on some of them.
    """
    measured = [_logged(reference, data_dir=data_dir) for reference in (a, b)]
    # By number: an alias may have moved meanwhile.
    manifests = [manifest_of(find_version(one.name, data_dir=data_dir), data_dir=data_dir) for one in measured]
    for one in measured:
        for other, manifest in zip(measured, manifests, strict=True):
            require_unseen(one.records, manifest, version=other.name)
    return compare(*measured)


def describe_bundle(resolved: ResolvedVersion) -> ComparedVersion:
    """Say which version a bundle is, and what it came from."""
    bundle, sha256 = read_bundle(resolved.folder)
    return ComparedVersion(
        number=resolved.version.number,
        bundle_sha256=sha256,
        manifest_sha256=bundle.manifest_sha256,
        base_model=f"{bundle.base_model.name}@{bundle.base_model.revision}",
        code_commit=bundle.code_commit,
    )


def manifest_of_bundle(resolved: ResolvedVersion) -> Manifest:
    """Read the manifest that a bundle carries.

    Raises:
        ValueError: It carries none, or that of other records.
    """
    described = describe_bundle(resolved)
    path = resolved.folder / "manifest.json"
    if not path.is_file():
        raise ValueError(
            f"the bundle at {resolved.folder} has no manifest.json, so nobody can tell what it was trained on; "
            "train the version again"
        )
    name = str(described.number or described.bundle_sha256[:12])
    return parse_manifest(path.read_bytes(), content_sha256=described.manifest_sha256, version=name)


def _logged(reference: str, *, data_dir: Path) -> Measured:
    if not is_registered_reference(reference):
        raise ValueError(
            f"version {reference!r} is a bundle's folder, of which no measurement is registered; "
            "give records that both shall predict with --records"
        )
    version = find_version(reference, data_dir=data_dir)
    if version.lineage is None or version.run_id is None:
        raise ValueError(f"version {version.number} was not registered by chartloop; compare others")
    lineage, directory = version.lineage, DataDirectory.locate(data_dir)
    client = open_registry(directory)
    try:
        records, predictions = (
            read_run_artifact(client, version.run_id, name, directory=directory)
            for name in (EVALUATED_RECORDS_ARTIFACT, PREDICTIONS_ARTIFACT)
        )
    except ValueError as error:
        raise ValueError(
            f"version {version.number}: {error}; or give records that both shall predict with --records"
        ) from None
    return Measured(
        version=ComparedVersion(
            number=version.number,
            bundle_sha256=lineage.bundle_sha256,
            manifest_sha256=lineage.manifest_sha256,
            base_model=lineage.base_model,
            code_commit=lineage.code_commit,
        ),
        records=_lines(EvaluatedRecord, records, name=EVALUATED_RECORDS_ARTIFACT, number=version.number),
        predictions=_lines(Prediction, predictions, name=PREDICTIONS_ARTIFACT, number=version.number),
    )


def _lines(kind: type[Line], content: bytes, *, name: str, number: int) -> Sequence[Line]:
    lines = []
    for place, line in enumerate(content.splitlines(), start=1):
        try:
            lines.append(kind.model_validate_json(line))
        except ValidationError as error:
            raise ValueError(f"{name} of version {number}, line {place}: {describe_errors(error)}") from None
    return lines
