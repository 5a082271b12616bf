"""Publishes a model bundle as a version in a Triton model repository (stage 6).

::

    <repository>/clinical-coder/config.pbtxt
    <repository>/clinical-coder/<number>/model.py      one import of serving.triton.model
    <repository>/clinical-coder/<number>/__pycache__/  its compiled form
    <repository>/clinical-coder/<number>/bundle/       the bundle, hard-linked where possible

The repository is whole in itself: any Triton whose Python has chartloop[training] installed can
load it. This module verifies the bundle, and knows nothing of tensors or running servers.
"""

import importlib.util
import os
import py_compile
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from clinical_coding.artefact import publish
from clinical_coding.bundle import read_bundle
from serving.triton.config import BUNDLE_FOLDER, MODEL_NAME, ModelConfig

__all__ = ["render_repository", "render_version", "write_config"]

_MODEL_FILE: Final = "model.py"
_MODEL_SOURCE: Final = '''"""The entry that Triton's Python backend reads; the model itself is in the package."""

from serving.triton.model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def render_repository(repository: Path, *, bundle: Path, number: int, config: ModelConfig) -> Path:
    """Publish a bundle as version ``number``, and the configuration that serves it.

    Args:
        repository: The model repository's folder, made when absent.
        bundle: The bundle's folder.
        number: The version's number, which ``config.versions`` must name.
        config: The model's configuration.

    Returns:
        The version's folder.

    Raises:
        ValueError: The bundle is missing or changed, or the configuration does not serve the number.
    """
    if number not in config.versions:
        raise ValueError(f"number {number} must be one of the served versions {config.versions}; add it to them")
    version_folder = render_version(repository, bundle=bundle, number=number)
    write_config(repository, config)
    return version_folder


def render_version(repository: Path, *, bundle: Path, number: int) -> Path:
    """Publish a bundle as version ``number``; what is there already and equal is left untouched.

    A running Triton reloads a version when a file of it changes, so nothing is rewritten in place:
    a version appears whole by one rename. A version folder that holds another bundle, or is
    damaged, is replaced; other versions stay.

    Args:
        repository: The model repository's folder, made when absent.
        bundle: The bundle's folder.
        number: The version's number.

    Returns:
        The version's folder.

    Raises:
        ValueError: The bundle is missing or changed.
    """
    _, bundle_sha256 = read_bundle(bundle)
    version_folder = repository / MODEL_NAME / str(number)
    if not _holds(version_folder, bundle_sha256=bundle_sha256):
        with _replacing(version_folder) as staging:
            _fill(staging, bundle=bundle)
    return version_folder


def write_config(repository: Path, config: ModelConfig) -> None:
    """Let the configuration appear by one rename; an equal one is left untouched."""
    config_path = repository / config.name / "config.pbtxt"
    text = config.render()
    if not config_path.is_file() or config_path.read_text() != text:
        with publish(config_path) as stream:
            stream.write(text)


def _holds(version_folder: Path, *, bundle_sha256: str) -> bool:
    """Whether a version folder is whole and has this bundle."""
    model_file = version_folder / _MODEL_FILE
    if not model_file.is_file() or model_file.read_text() != _MODEL_SOURCE:
        return False
    if not Path(importlib.util.cache_from_source(str(model_file))).is_file():
        return False
    try:
        return read_bundle(version_folder / BUNDLE_FOLDER)[1] == bundle_sha256
    except ValueError:
        return False


def _fill(folder: Path, *, bundle: Path) -> None:
    model_file = folder / _MODEL_FILE
    model_file.write_text(_MODEL_SOURCE)
    # Compiled ahead and never checked against the source's time: the stub would otherwise write the file
    # itself, which counts as a change of the version, and a copied repository has other times.
    py_compile.compile(str(model_file), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    for source in sorted(path for path in bundle.rglob("*") if path.is_file()):
        target = folder / BUNDLE_FOLDER / source.relative_to(bundle)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            # Another file system, or one without hard links.
            shutil.copy2(source, target)


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Fill a folder aside, then put it in place by a rename; on failure nothing changes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Triton passes over folders in a model's directory whose names are no numbers.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".staging-") as aside:
        new, old = Path(aside, "new"), Path(aside, "old")
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
