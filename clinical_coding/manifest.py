"""The manifest: what a version was trained on, by id and by hash."""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from clinical_coding.artefact import Artefact
from clinical_coding.records import SCHEMA_VERSION

__all__ = ["Manifest", "hash_patient", "hash_patients"]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(Artefact):
    """An ordered list of records with the hash of their content."""

    schema_version: Literal[1] = SCHEMA_VERSION
    record_ids: tuple[str, ...]
    content_sha256: Sha256
    splits: dict[str, int]
    """Number of records by split."""
    sources: tuple[str, ...]
    """The record specs that the records were read from, without folders."""
    adjudication_ids: tuple[str, ...] = ()
    patient_hashes: tuple[Sha256, ...] = ()
    """SHA-256 of every patient id, sorted: shows whether two manifests share a patient without naming any."""


def hash_patients(patient_ids: Iterable[str]) -> tuple[str, ...]:
    """Hash patient ids as a manifest holds them: sorted, each once."""
    return tuple(sorted({hash_patient(patient_id) for patient_id in patient_ids}))


def hash_patient(patient_id: str) -> str:
    """SHA-256 of a patient id, in hexadecimal."""
    return hashlib.sha256(patient_id.encode()).hexdigest()
