"""A training set that feedback exported, as stage 1 of the next version.

Takes a folder with ``records.jsonl`` and ``manifest.json``, gives what ``store_records`` gives once it is sure that
the records are the ones the manifest names, and that none is of a patient on whom versions are measured. Codes that
are not valid are settled on the way, so that the manifest of the training is the export's only where none was. It
knows neither how the records were curated nor the ledger that their adjudications are kept in.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from clinical_coding.artefact import describe_errors
from clinical_coding.code_systems import CodeSystems
from clinical_coding.manifest import Manifest
from clinical_coding.readers import assign_split, read_records
from clinical_coding.readers.spec import without_folders
from clinical_coding.records import CodedRecord, Split
from training.code_validity import ValidCodes
from training.dataset import ManifestTally, store_records

__all__ = ["store_training_set"]

_RECORDS, _MANIFEST = "records.jsonl", "manifest.json"
_REMEDY = "export it again with `chartloop feedback export`"


def store_training_set(
    folder: Path,
    *,
    base: str,
    path: Path,
    valid_codes: ValidCodes,
    rejects: Path | None = None,
    counted: Callable[[Iterator[CodedRecord]], Iterator[CodedRecord]],
) -> Manifest:
    """First hop of a training set: check it and stream its records to an Arrow file.

    Args:
        folder: The training set.
        base: The record spec whose dev and test splits measure versions.
        path: Where the file is to lie.
        valid_codes: Settles the codes of the checked records.
        rejects: Where to keep lines of ``base`` that cannot be read.
        counted: Passes records on and shows their number.

    Returns:
        The manifest of what was stored.

    Raises:
        ValueError: A file is missing or damaged, a line is no record, or a record leaks a patient of dev or test.
    """
    manifest = _read_manifest(folder)
    held_out = _held_out_patients(base, rejects=rejects, systems=valid_codes.systems)
    exported = read_records(f"jsonl:{folder / _RECORDS}", max_rejects=0, systems=valid_codes.systems)
    records = _read_checked(exported, folder, held_out=held_out, held_out_by=without_folders(base))
    tally = ManifestTally()
    settled = valid_codes.settle(counted(_tallied(records, tally)))
    stored = store_records(settled, sources=manifest.sources, path=path)
    _compare(manifest, found=tally.manifest(sources=manifest.sources), folder=folder)
    return stored


def _tallied(records: Iterator[CodedRecord], tally: ManifestTally) -> Iterator[CodedRecord]:
    for record in records:
        tally.add(record)
        yield record


def _read_manifest(folder: Path) -> Manifest:
    for name in (_MANIFEST, _RECORDS):
        if not (folder / name).is_file():
            raise ValueError(
                f"training set {folder} has no {name}; name a folder that `chartloop feedback export` wrote"
            )
    try:
        return Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
    except ValidationError as error:
        raise ValueError(f"{folder / _MANIFEST}: {describe_errors(error)}; {_REMEDY}") from None


def _held_out_patients(base: str, *, rejects: Path | None, systems: CodeSystems) -> dict[str, Split]:
    """The patients who are never trained on, in memory by id alone."""
    records = read_records(base, splits=(Split.DEV, Split.TEST), rejects=rejects, systems=systems)
    return {record.patient_id: record.split for record in records if record.split is not None}


def _read_checked(
    records: Iterator[CodedRecord], folder: Path, *, held_out: Mapping[str, Split], held_out_by: str
) -> Iterator[CodedRecord]:
    is_empty = True
    for record in records:
        if fault := _leak(record, held_out=held_out, held_out_by=held_out_by):
            raise ValueError(
                f"training set {folder} would leak the evaluation patients: record {record.record_id!r} {fault}; "
                f"{_REMEDY}, with --replay of the records that versions are measured on"
            )
        yield record
        is_empty = False
    if is_empty:
        raise ValueError(f"training set {folder} is damaged: {_RECORDS} holds no record; {_REMEDY}")


def _leak(record: CodedRecord, *, held_out: Mapping[str, Split], held_out_by: str) -> str | None:
    if record.split is not Split.TRAIN:
        return f"is of split {record.split}, expected train"
    if split := held_out.get(record.patient_id):
        return f"is of a patient in the {split} split of {held_out_by}"
    # A corpus may state splits of its own; encounters that suggestions were asked for are split by the hash alone.
    is_feedback = any(code.provenance.adjudication_id for code in record.codes)
    if is_feedback and (split := assign_split(record.patient_id)) is not Split.TRAIN:
        return f"is of a patient assigned to {split}"
    return None


def _compare(manifest: Manifest, *, found: Manifest, folder: Path) -> None:
    fields = ["record_ids", "adjudication_ids", "splits", "content_sha256"]
    # Manifests of before name no patients.
    fields += ["patient_hashes"] if manifest.patient_hashes else []
    for name in fields:
        if getattr(manifest, name) != getattr(found, name):
            raise ValueError(
                f"training set {folder} is damaged: {name} in {_MANIFEST} is not that of {_RECORDS}; {_REMEDY}"
            )
