"""The evaluation set: what is true of the records that versions are measured on, without notes (stages 4, 11).

Training writes it beside the predictions, governance compares versions by it. It holds codes and
circumstances of care, patients and notes by hash only. What a metric makes of it is ``metrics``' business.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from clinical_coding.artefact import Artefact, sha256_of_json
from clinical_coding.codes import CodeState
from clinical_coding.manifest import Sha256, hash_patient
from clinical_coding.records import SCHEMA_VERSION, CodedRecord, Identifier, Unlisted, hash_notes
from clinical_coding.slices import slice_values

__all__ = ["COMPARED_DIMENSIONS", "EvaluatedRecord", "evaluation_set_sha256"]

COMPARED_DIMENSIONS: Final = ("specialty", "setting", "complexity", "payer")
"""What comparisons slice by. Providers are left out: the set names no person."""

Key = Annotated[str, Field(pattern=r"^[a-z0-9]+:[0-9A-Z.]+$")]


class EvaluatedRecord(Artefact):
    """What is true of one record, each code by its label key (``icd10cm:I21.4``) in one of three states."""

    schema_version: Literal[1] = SCHEMA_VERSION
    record_id: Identifier
    patient_hash: Sha256
    notes_sha256: Sha256
    """Tells the same record in another language, or with another note, apart."""
    slices: dict[str, str]
    """Circumstances of care by dimension; one that the encounter does not state is left out."""
    positive: tuple[Key, ...]
    """Sorted, as are the others; no key is in two."""
    negative: tuple[Key, ...] = ()
    unknown: tuple[Key, ...] = ()
    """Masked: neither right nor wrong."""
    unlisted: Unlisted = Unlisted.ABSENT

    @model_validator(mode="after")
    def _each_key_once(self) -> Self:
        keys = [*self.positive, *self.negative, *self.unknown]
        if len(set(keys)) != len(keys):
            raise ValueError("positive, negative and unknown must not share or repeat a key; keep each once")
        return self

    @classmethod
    def of(cls, record: CodedRecord) -> Self:
        """Take from a record what an evaluation needs.

        One code may stand twice, with different modifiers: positive then outweighs unknown, and
        unknown outweighs negative, as in ``metrics``.
        """
        positive, unknown, negative = (
            record.keys(state) for state in (CodeState.POSITIVE, CodeState.UNKNOWN, CodeState.NEGATIVE)
        )
        return cls(
            record_id=record.record_id,
            patient_hash=hash_patient(record.patient_id),
            notes_sha256=hash_notes(record.notes),
            slices=dict(slice_values(record.encounter, dimensions=COMPARED_DIMENSIONS)),
            positive=tuple(sorted(positive)),
            negative=tuple(sorted(negative - positive - unknown)),
            unknown=tuple(sorted(unknown - positive)),
            unlisted=record.unlisted,
        )


def evaluation_set_sha256(records: Iterable[EvaluatedRecord]) -> str:
    """Hash an evaluation set, in whichever order its records come.

    Raises:
        ValueError: A record comes twice.
    """
    ordered = sorted(records, key=lambda record: record.record_id)
    for before, after in pairwise(ordered):
        if before.record_id == after.record_id:
            raise ValueError(f"record {after.record_id!r} comes twice in the evaluation set; keep it once")
    return sha256_of_json([record.model_dump(mode="json") for record in ordered])
