"""The model bundle: a directory that holds everything a version needs, each file's hash in bundle.json.

This module reads and verifies a bundle without torch, so that the gateway can name labels
and versions; ``training.model`` loads the tensors.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from clinical_coding.artefact import Artefact, describe_errors, sha256_of_file
from clinical_coding.codes import CodeSystem
from clinical_coding.manifest import Sha256
from clinical_coding.records import SCHEMA_VERSION

__all__ = [
    "BaseModelName",
    "Bundle",
    "Calibration",
    "Label",
    "Windowing",
    "read_bundle",
    "read_labels",
    "read_reference",
]

BUNDLE_FILE = "bundle.json"
LABELS_FILE = "labels.json"


class BaseModelName(Artefact):
    """The pretrained encoder, by logical name; never a path."""

    name: str
    revision: str
    sha256: Sha256
    """Of the encoder's model.safetensors before fine-tuning."""


class Windowing(Artefact):
    """How notes are cut for the encoder."""

    max_window_tokens: Annotated[int, Field(ge=16)]
    """Tokens a window, special tokens included."""
    max_windows: Annotated[int, Field(ge=1)]
    """Windows a record; what lies beyond is not read, and is counted."""


class Calibration(Artefact):
    """Logistic calibration: confidence = sigmoid(logit_weight * logit + lexical_weight * lexical + offset)."""

    logit_weight: float
    lexical_weight: float
    offset: float


class Label(Artefact):
    """One code of the label space, with the words that stand for it."""

    system: CodeSystem
    release: str | None
    code: str
    description: str | None
    """Official words for ICD-10-CM, and for ICD-10-PCS and HCPCS where their release is held; else our own, never
    the licensed descriptor (CPT), or null."""

    @property
    def key(self) -> str:
        """The label key: ``icd10cm:I21.4``."""
        return f"{self.system}:{self.code}"


class Bundle(Artefact):
    """bundle.json."""

    schema_version: Literal[1] = SCHEMA_VERSION
    base_model: BaseModelName
    label_space_sha256: Sha256
    releases: dict[str, tuple[str, ...]]
    """Releases of the labels, by code system."""
    windowing: Windowing
    calibration: Calibration
    threshold: Annotated[float, Field(ge=0, le=1)]
    """Confidence from which a code is suggested."""
    manifest_sha256: Sha256
    """Content hash of the records that trained the version."""
    code_commit: str | None
    reference: dict[str, dict[str, float]]
    """Histograms of the training records: note tokens, code mix, confidence."""
    files: dict[str, Sha256]
    """Every other file of the bundle by relative path, with its hash."""


def read_bundle(folder: Path) -> tuple[Bundle, str]:
    """Read a bundle's index and verify the hash of every file that it names.

    Args:
        folder: The bundle directory.

    Returns:
        The index, and the SHA-256 of bundle.json itself, which stands for the whole bundle.

    Raises:
        ValueError: There is no bundle here, it is malformed, or a file is missing, changed or
            unlisted; the message names the file.
    """
    index_path = folder / BUNDLE_FILE
    if not index_path.is_file():
        raise ValueError(f"no model bundle at {folder}: {BUNDLE_FILE} is missing; name a version or a bundle's folder")
    try:
        bundle = Bundle.model_validate_json(index_path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{index_path}: {describe_errors(error)}") from None
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {BUNDLE_FILE}
    for name in sorted(present ^ bundle.files.keys()):
        fault = "is not listed in" if name in present else "is missing, but listed in"
        raise ValueError(f"bundle file {name} {fault} {index_path}; fetch the version again")
    for name, expected in bundle.files.items():
        if sha256_of_file(folder / name) != expected:
            raise ValueError(
                f"bundle file {name} does not have the SHA-256 that {index_path} states; fetch the version again"
            )
    return bundle, sha256_of_file(index_path)


def read_reference(folder: Path) -> dict[str, dict[str, float]]:
    """Read the histograms of a bundle that was verified before (``read_bundle``)."""
    return Bundle.model_validate_json((folder / BUNDLE_FILE).read_bytes()).reference


def read_labels(folder: Path) -> tuple[Label, ...]:
    """Read a bundle's labels, in the order of the model's outputs."""
    return TypeAdapter(tuple[Label, ...]).validate_python(json.loads((folder / LABELS_FILE).read_bytes()))
