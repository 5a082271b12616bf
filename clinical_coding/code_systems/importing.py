"""Imports a release: official files in, a folder of tables out, whole or not at all.

All is read and judged before anything is stored. Imports into one data directory wait for each other. A release
appears by one rename; a killed import leaves a hidden folder that nothing reads, and that the next import removes.
A damaged release is replaced when its files are imported again.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from clinical_coding.artefact import publish_folder, sha256_of_file, sha256_of_json
from clinical_coding.code_systems import embedded
from clinical_coding.code_systems.official.readings import READINGS
from clinical_coding.code_systems.official.sources import Source, open_sources
from clinical_coding.code_systems.official.years import check_names
from clinical_coding.code_systems.releases import Release, ReleasedSystem, check_name, refuse_overlap
from clinical_coding.code_systems.search import build_index
from clinical_coding.code_systems.store import RELEASE_FILE, folder_of, release_folders, stored_release
from clinical_coding.code_systems.tables import INDEX_FILE
from clinical_coding.data_directory import DataDirectory

__all__ = ["Imported", "import_release"]

_LOCK: Final = "code-systems"
_ASIDE: Final = ".importing-"


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import."""

    release: Release
    is_new: bool
    """False when the same release was held before, and nothing was changed."""
    remarks: tuple[str, ...]
    """What the files lack, for whoever imports them."""


def import_release(
    system: ReleasedSystem,
    files: Sequence[Path],
    *,
    name: str,
    effective_from: date,
    effective_to: date | None = None,
    directory: DataDirectory,
) -> Imported:
    """Read the official files of a release and keep it.

    Args:
        system: What is imported.
        files: Its files, or the archives that hold them; several where CMS cuts one table into parts.
        name: Year and month of its start, ``2026-10``.
        effective_from: First day.
        effective_to: Last day; null: to the day before the next release.
        directory: Where it is kept.

    Raises:
        ValueError: A file is in another layout, cut short, of another year, or names a code twice; the release
            overlaps another; or the files are held already under another name or other dates. Nothing is stored.
    """
    check_name(name, effective_from=effective_from)
    if effective_to is not None and effective_to < effective_from:
        raise ValueError(
            f"effective-to {effective_to} is before effective-from {effective_from}; give a last day on or after the "
            "first, or leave it out"
        )
    reading = READINGS[system]
    sources = open_sources(files, fits=reading.fits, expected=reading.expected)
    check_names(sources, system=system, effective_from=effective_from)
    release = Release(
        system=system,
        name=name,
        effective_from=effective_from,
        effective_to=effective_to,
        sha256=sha256_of_json([system, sorted(source.sha256 for source in sources)]),
        sources={source.name: source.sha256 for source in sources},
        counts={},
    )
    root = directory.code_systems
    # Held throughout: what another import has begun and not ended is then nobody's, and is swept.
    with directory.lock(_LOCK):
        return _import(release, sources, root=root)


def _import(release: Release, sources: Sequence[Source], *, root: Path) -> Imported:
    _sweep(root)
    folder = folder_of(root, release)
    is_damaged = folder.is_dir() and not _is_whole(root, folder)
    held = _held_already(release, root=root, without=folder if is_damaged else None)
    if held is not None:
        return Imported(held, False, ())
    with _aside(root / release.system) as aside:
        content = READINGS[release.system].read(sources, release, aside)
        if content.entries is not None:
            build_index(content.entries, path=aside / INDEX_FILE)
        release = _seal(release, content.counts, folder=aside)
        publish_folder(aside, folder)
    repaired = (f"what was held of it in {folder} was damaged, and is replaced",) if is_damaged else ()
    return Imported(release, True, (*repaired, *content.remarks))


def _sweep(root: Path) -> None:
    """Remove what killed imports left."""
    for system in ReleasedSystem:
        for pattern in (f"{_ASIDE}*", ".*.outdated"):
            for left in (root / system).glob(pattern):
                shutil.rmtree(left, ignore_errors=True)


def _is_whole(root: Path, folder: Path) -> bool:
    try:
        stored = stored_release(root, folder)
        for name in stored.release.files:
            stored.verify(name)
    except ValueError:
        return False
    return True


def _held_already(new: Release, *, root: Path, without: Path | None) -> Release | None:
    """Find the release where it is held; refuse it where it cannot stand beside what is.

    Args:
        new: The release.
        root: The folder of code systems.
        without: The release's own folder where it is damaged, and is replaced.
    """
    folders = [folder for folder in release_folders(root, new.system) if folder != without]
    of_system = [stored_release(root, folder).release for folder in folders]
    for release in of_system:
        if release.sha256 == new.sha256:
            if _place(release) == _place(new):
                return release
            raise ValueError(
                f"these files are held already as {release.describe()}; a release cannot be two: name the files of "
                f"{new.name}, or remove the folder {folder_of(root, release)} first"
            )
    of_system += [one for one in _embedded(new) if one.name != new.name]
    refuse_overlap(new, held=of_system)
    return None


def _embedded(new: Release) -> list[Release]:
    return [embedded.release()] if new.system is ReleasedSystem.ICD10CM else []


def _place(release: Release) -> tuple[str, date, date | None]:
    return release.name, release.effective_from, release.effective_to


def _seal(release: Release, counts: dict[str, int], *, folder: Path) -> Release:
    """Write release.json beside the tables, whose hashes it states."""
    hashes = {path.name: sha256_of_file(path) for path in sorted(folder.iterdir())}
    sealed = release.model_copy(update={"counts": counts, "files": hashes})
    (folder / RELEASE_FILE).write_text(sealed.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return sealed


@contextmanager
def _aside(parent: Path) -> Iterator[Path]:
    """A folder beside the final one, gone at the end unless it was renamed."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=_ASIDE))
    except OSError as error:
        raise ValueError(f"{parent} cannot be written ({error.strerror}); name another place with --data-dir") from None
    try:
        # mkdtemp makes 0700; what is published follows the process's umask instead.
        umask = os.umask(0)
        os.umask(umask)
        folder.chmod(0o777 & ~umask)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
