"""The folder of imported releases: each in ``<system>/<first 16 digits of its hash>/``, with release.json.

It finds releases and hands out their files once their hash is verified. Releases appear whole (``publish_folder``),
so that whatever lies here under a plain name is complete, or was damaged later.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from clinical_coding.artefact import describe_errors, sha256_of_file
from clinical_coding.code_systems.releases import Release, ReleasedSystem

__all__ = ["RELEASE_FILE", "StoredRelease", "folder_of", "release_folders", "stored_release", "stored_releases"]

RELEASE_FILE: Final = "release.json"


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """A release and the folder of its tables."""

    release: Release
    folder: Path

    @property
    def remedy(self) -> str:
        """What to do where a file of it is damaged."""
        return _remedy(self.folder)

    def holds(self, name: str) -> bool:
        """Tell whether a file of this name came with the release."""
        return name in self.release.files

    def path(self, name: str) -> Path:
        """The path of a file that the release holds; its content is not verified."""
        return self.folder / name

    def verify(self, name: str) -> None:
        """Hash a file, once a process unless it changes.

        Raises:
            ValueError: It is missing, or is not what was imported.
        """
        path = self.folder / name
        try:
            state = path.stat()
            found = _sha256(path, state.st_mtime_ns, state.st_size)
        except OSError as error:
            raise self._unreadable(name, error) from None
        self._check(name, found)

    def read(self, name: str) -> bytes:
        """Read a file and verify it.

        Raises:
            ValueError: It is missing, or is not what was imported.
        """
        try:
            body = (self.folder / name).read_bytes()
        except OSError as error:
            raise self._unreadable(name, error) from None
        self._check(name, hashlib.sha256(body).hexdigest())
        return body

    def _unreadable(self, name: str, error: OSError) -> ValueError:
        return ValueError(
            f"{self.release.describe()}: {self.folder / name} cannot be read ({error.strerror}); {self.remedy}"
        )

    def _check(self, name: str, sha256: str) -> None:
        if sha256 != self.release.files.get(name):
            raise ValueError(
                f"{self.release.describe()}: {self.folder / name} does not have the SHA-256 that {RELEASE_FILE} "
                f"states; {self.remedy}"
            )


def folder_of(root: Path, release: Release) -> Path:
    """Where a release lies below the folder of code systems."""
    return root / release.system / release.sha256[:16]


def stored_releases(root: Path) -> list[StoredRelease]:
    """Find all imported releases.

    Args:
        root: The folder of code systems; it need not exist.

    Raises:
        ValueError: A release is damaged: its release.json is missing, unreadable or lies in the wrong place; the
            message names the folder.
    """
    return [stored_release(root, folder) for system in ReleasedSystem for folder in release_folders(root, system)]


def release_folders(root: Path, system: ReleasedSystem) -> Iterator[Path]:
    """The folders of one system's releases, damaged ones too.

    Raises:
        ValueError: The folder of the system cannot be read.
    """
    try:
        paths = sorted((root / system).iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(
            f"{root / system} cannot be read ({error.strerror}); give yourself the right to read it, or name another "
            "place with --data-dir"
        ) from None
    # A dot begins the name of what is still being written.
    yield from (path for path in paths if path.is_dir() and not path.name.startswith("."))


def stored_release(root: Path, folder: Path) -> StoredRelease:
    """Read the release.json of a folder.

    Raises:
        ValueError: It is missing, damaged, or of another release than the folder's name.
    """
    path = folder / RELEASE_FILE
    try:
        release = Release.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(
            f"the release in {folder} is damaged: {path} cannot be read ({error.strerror}); {_remedy(folder)}"
        ) from None
    except ValidationError as error:
        raise ValueError(
            f"the release in {folder} is damaged: {path}: {describe_errors(error)}; {_remedy(folder)}"
        ) from None
    if folder != folder_of(root, release):
        raise ValueError(f"{path} states another system or hash than its folder's name; {_remedy(folder)}")
    return StoredRelease(release, folder)


def _remedy(folder: Path) -> str:
    return f"remove the folder {folder} and import the release again"


@lru_cache(maxsize=256)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    """Hash a file; its time and size tell a changed one from one that was hashed before."""
    return sha256_of_file(path)
