"""Registered versions: listed, and found by alias, number or path (the end of stage 5, the start of 6 and 11).

Whoever asks for a version by name gets a folder whose content is verified against the hash that
training registered. Knows nothing of training and loads no model. Reads MLflow alone; approvals and
the moving of aliases are ``promotion``'s business.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from clinical_coding.bundle import read_bundle
from clinical_coding.data_directory import DataDirectory, path_of_uri
from clinical_coding.registered_version import MODEL_NAME, VersionAlias, VersionLineage
from clinical_coding.suggestions import VersionName
from governance.registry import REMEDY, aliases_of, open_registry, search_versions

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = [
    "RegisteredVersion",
    "ResolvedVersion",
    "find_version",
    "is_registered_reference",
    "list_versions",
    "resolve_default",
    "resolve_version",
]


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One version as the registry knows it."""

    number: int
    aliases: tuple[str, ...]
    created: datetime
    """UTC."""
    run_id: str | None
    lineage: VersionLineage | None
    """Null when somebody registered the version by other means than chartloop; it cannot be served."""


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """A version and the folder of its bundle, verified."""

    version: VersionName
    folder: Path


def list_versions(*, data_dir: Path) -> list[RegisteredVersion]:
    """List the registered versions, newest first.

    Args:
        data_dir: The data directory.

    Raises:
        ValueError: There is no MLflow store yet.
    """
    client = open_registry(DataDirectory.locate(data_dir))
    aliases = aliases_of(client)
    versions = [_describe(version, aliases=aliases) for version in search_versions(client)]
    return sorted(versions, key=lambda version: version.number, reverse=True)


def resolve_version(reference: str, *, data_dir: Path) -> ResolvedVersion:
    """Find a version's bundle.

    Args:
        reference: ``champion``, ``candidate``, ``challenger``, a number, or a bundle's path. A folder
            called like an alias or a number is named with ``./`` before it.
        data_dir: The data directory.

    Returns:
        The version, and its bundle: in place where MLflow keeps artefacts as local files, else
        fetched once into ``<data_dir>/cache/bundles/<sha256>``.

    Raises:
        ValueError: Nothing is known by this reference, or the bundle is missing, changed, or not the
            one that was registered. The message lists what exists and says what to do.
    """
    if not is_registered_reference(reference):
        return _resolve_path(reference)
    directory = DataDirectory.locate(data_dir)
    client = open_registry(directory)
    found = _find(client, reference, directory=directory)
    return _fetch(client, found, alias=None if reference.isdecimal() else reference, directory=directory)


def find_version(reference: str, *, data_dir: Path) -> RegisteredVersion:
    """Find what the registry knows of a version, without its bundle.

    Args:
        reference: ``champion``, ``candidate``, ``challenger`` or a number.
        data_dir: The data directory.

    Raises:
        ValueError: Nothing is registered by this reference; the message lists what is.
    """
    if not is_registered_reference(reference):
        raise ValueError(f"version {reference!r} is not registered; name {', '.join(VersionAlias)}, or a number")
    directory = DataDirectory.locate(data_dir)
    client = open_registry(directory)
    return _describe(_find(client, reference, directory=directory), aliases=aliases_of(client))


def is_registered_reference(reference: str) -> bool:
    """Tell a reference to the registry, an alias or a number, from the path of a bundle."""
    return reference in set(VersionAlias) or reference.isdecimal()


def resolve_default(*, data_dir: Path) -> ResolvedVersion:
    """Find the version to serve: the champion, else the candidate; ``version.alias`` says which.

    Args:
        data_dir: The data directory.

    Raises:
        ValueError: There is neither; or as :func:`resolve_version`.
    """
    directory = DataDirectory.locate(data_dir)
    client = open_registry(directory)
    aliases = aliases_of(client)
    for alias in (VersionAlias.CHAMPION, VersionAlias.CANDIDATE):
        if alias in aliases:
            return resolve_version(alias, data_dir=data_dir)
    raise ValueError(f"neither champion nor candidate is registered in {directory.root}; {_inventory(client)}")


def _find(client: "MlflowClient", reference: str, *, directory: DataDirectory) -> "ModelVersion":
    wanted = int(reference) if reference.isdecimal() else aliases_of(client).get(reference)
    found = next((version for version in search_versions(client) if int(version.version) == wanted), None)
    if found is None:
        raise ValueError(f"version {reference!r} is not registered in {directory.root}; {_inventory(client)}")
    return found


def _describe(version: "ModelVersion", *, aliases: Mapping[str, int]) -> RegisteredVersion:
    try:
        lineage = VersionLineage.from_tags(version.tags)
    except ValueError:
        lineage = None
    number = int(version.version)
    return RegisteredVersion(
        number=number,
        aliases=tuple(sorted(alias for alias, bearer in aliases.items() if bearer == number)),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, tz=UTC),
        run_id=version.run_id or None,
        lineage=lineage,
    )


def _inventory(client: "MlflowClient") -> str:
    """Say what could have been asked for, or how to make something that can."""
    aliases = [f"{alias} (version {number})" for alias, number in sorted(aliases_of(client).items())]
    numbers = [str(number) for number in sorted(int(version.version) for version in search_versions(client))]
    if not numbers:
        return f"nothing is; {REMEDY}"
    return f"registered are the aliases {', '.join(aliases) or 'none'} and the numbers {', '.join(numbers)}"


def _resolve_path(reference: str) -> ResolvedVersion:
    folder = Path(reference).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(
            f"version {reference!r} is neither {', '.join(VersionAlias)}, nor a number, nor a bundle's folder; "
            "list the registered ones with `chartloop versions list`"
        )
    _, sha256 = read_bundle(folder)
    return ResolvedVersion(VersionName(name=MODEL_NAME, number=None, alias=None, bundle_sha256=sha256), folder)


def _fetch(
    client: "MlflowClient", version: "ModelVersion", *, alias: str | None, directory: DataDirectory
) -> ResolvedVersion:
    try:
        expected = VersionLineage.from_tags(version.tags).bundle_sha256
    except ValueError as error:
        raise ValueError(f"version {version.version} was not registered by chartloop: {error}; {REMEDY}") from None
    uri = client.get_model_version_download_uri(MODEL_NAME, version.version)
    local = path_of_uri(uri)
    if local is None:
        folder = _download(uri, expected=expected, directory=directory)
    else:
        folder = _relocate(local, directory=directory)
        _require(folder, expected=expected)
    name = VersionName(name=MODEL_NAME, number=int(version.version), alias=alias, bundle_sha256=expected)
    return ResolvedVersion(name, folder)


def _require(folder: Path, *, expected: str) -> None:
    _, found = read_bundle(folder)
    if found != expected:
        raise ValueError(
            f"the bundle at {folder} has SHA-256 {found}, registered was {expected}; "
            "restore the artefacts from a backup, or train again"
        )


def _relocate(folder: Path, *, directory: DataDirectory) -> Path:
    """Follow a data directory that was moved: MLflow keeps absolute addresses, the hash proves the content."""
    moved = directory.artifacts.joinpath(*folder.parts[-3:])
    return moved if not folder.exists() and moved.exists() else folder


def _download(uri: str, *, expected: str, directory: DataDirectory) -> Path:
    """Fetch a bundle into the cache, unless it is there and whole."""
    import mlflow

    folder = directory.cache / "bundles" / expected
    with directory.lock("bundles"):
        if folder.exists() and _is_whole(folder, expected=expected):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
            arrived = mlflow.artifacts.download_artifacts(
                artifact_uri=uri, dst_path=scratch, tracking_uri=directory.tracking_uri
            )
            _require(Path(arrived), expected=expected)
            Path(arrived).rename(folder)
    return folder


def _is_whole(folder: Path, *, expected: str) -> bool:
    try:
        _require(folder, expected=expected)
    except ValueError:
        return False
    return True
