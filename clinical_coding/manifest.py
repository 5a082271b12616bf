"""The manifest: what a version was trained on, by id and by hash."""

from typing import Annotated, Literal

from pydantic import Field

from clinical_coding.artefact import Artefact
from clinical_coding.records import SCHEMA_VERSION

__all__ = ["Manifest"]

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
