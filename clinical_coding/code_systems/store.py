"""The folder of imported releases: each in ``<system>/<first 16 digits of its hash>/``, with release.json.

It finds releases and hands out their files once their hash is verified. Releases appear whole (``publish_folder``),
so that whatever lies here under a plain name is complete.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from clinical_coding.artefact import describe_errors
from clinical_coding.code_systems.releases import Release, ReleasedSystem

__all__ = ["RELEASE_FILE", "StoredRelease", "folder_of", "stored_releases"]

RELEASE_FILE: Final = "release.json"
_REMEDY: Final = "remove the folder and import the release again"


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """A release and the folder of its tables."""

    release: Release
    folder: Path

    def holds(self, name: str) -> bool:
        """Tell whether a file of this name came with the release."""
        return name in self.release.files

    def path(self, name: str) -> Path:
        """The path of a file that the release holds; its content is not verified."""
        return self.folder / name

    def read(self, name: str) -> bytes:
        """Read a file and verify it.

        Raises:
            ValueError: It is missing, or is not what was imported.
        """
        try:
            body = (self.folder / name).read_bytes()
        except OSError as error:
            raise ValueError(
                f"{self.release.describe()}: {self.folder / name} cannot be read ({error.strerror}); {_REMEDY}"
            ) from None
        if hashlib.sha256(body).hexdigest() != self.release.files.get(name):
            raise ValueError(
                f"{self.release.describe()}: {self.folder / name} does not have the SHA-256 that {RELEASE_FILE} "
                f"states; {_REMEDY}"
            )
        return body


def folder_of(root: Path, release: Release) -> Path:
    """Where a release lies below the folder of code systems."""
    return root / release.system / release.sha256[:16]


def stored_releases(root: Path) -> list[StoredRelease]:
    """Find all imported releases.

    Args:
        root: The folder of code systems; it need not exist.

    Raises:
        ValueError: A release.json is damaged or lies in the wrong place; the message names it.
    """
    found = []
    for system in ReleasedSystem:
        # A dot begins the name of what is still being written.
        for path in sorted((root / system).glob(f"[!.]*/{RELEASE_FILE}")):
            try:
                release = Release.model_validate_json(path.read_bytes())
            except ValidationError as error:
                raise ValueError(f"{path}: {describe_errors(error)}; {_REMEDY}") from None
            if path.parent != folder_of(root, release):
                raise ValueError(f"{path} states another system or hash than its folder's name; {_REMEDY}")
            found.append(StoredRelease(release, path.parent))
    return found
