"""Coded records as Parquet: one row a record, read by row group (stage 1).

The columns are the fields of CodedRecord: encounter a struct, notes and codes lists of structs,
so that any Parquet tool can query inside them. Absent columns and nulls take a field's default.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from clinical_coding.artefact import describe_errors, publish_path
from clinical_coding.readers.admission import Admission, PatientInTwoSplitsError
from clinical_coding.readers.rejects import Rejects
from clinical_coding.records import CodedRecord

__all__ = ["read_parquet", "write_parquet"]

_ROWS_AT_ONCE: Final = 256

_ENCOUNTER: Final = pa.struct(
    {name: pa.string() for name in ("setting", "specialty", "payer", "provider_id", "facility_id")}
    | {"service_start": pa.date32(), "service_end": pa.date32(), "age": pa.int16(), "sex": pa.string()}
    | {"complexity": pa.string(), "drg": pa.string(), "emergency_level": pa.int8(), "flags": pa.list_(pa.string())}
)
_NOTE: Final = pa.struct({"note_id": pa.string(), "type": pa.string(), "text": pa.string()})
_EVIDENCE: Final = pa.struct({"note_id": pa.string(), "start": pa.int32(), "end": pa.int32()})
_CODE: Final = pa.struct(
    {"system": pa.string(), "release": pa.string(), "code": pa.string(), "sequence": pa.int32()}
    | {
        "present_on_admission": pa.string(),
        "modifiers": pa.list_(pa.string()),
        "units": pa.int32(),
        "state": pa.string(),
    }
    | {"weight": pa.float64(), "evidence": pa.list_(_EVIDENCE)}
    | {"provenance": pa.struct({"source": pa.string(), "adjudication_id": pa.string()})}
)
_SCHEMA: Final = pa.schema(
    {"schema_version": pa.int8(), "record_id": pa.string(), "patient_id": pa.string(), "split": pa.string()}
    | {"encounter": _ENCOUNTER, "notes": pa.list_(_NOTE), "codes": pa.list_(_CODE), "unlisted": pa.string()}
)


def read_parquet(path: Path, *, rejects: Rejects, admission: Admission) -> Iterator[CodedRecord]:
    """Read records, a few hundred rows at a time.

    Args:
        path: A Parquet file whose columns are the fields of CodedRecord.
        rejects: Takes the rows that are no record; their line is the row number, from 1.
        admission: Judges each record.

    Raises:
        ValueError: This is no Parquet file, too many rows are rejected, or a patient is found
            in two splits.
    """
    for number, row in enumerate(_rows(path), start=1):
        try:
            record = admission.admit(CodedRecord.model_validate(_without_nulls(row)))
        except ValidationError as error:
            rejects.add(path, line=number, reason=describe_errors(error), raw=json.dumps(row, default=str))
        except PatientInTwoSplitsError as error:
            raise ValueError(f"{path}, row {number}: split: {error}") from None
        except ValueError as error:
            rejects.add(path, line=number, reason=str(error), raw=json.dumps(row, default=str))
        else:
            yield record


def write_parquet(records: Iterable[CodedRecord], path: Path) -> int:
    """Write records; the file appears whole or not at all.

    Returns:
        The number of records written.
    """
    remaining = iter(records)
    count = 0
    with publish_path(path) as aside, pq.ParquetWriter(aside, _SCHEMA, compression="zstd") as writer:
        while rows := [record.model_dump() for record in islice(remaining, _ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
            count += len(rows)
    return count


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False):
                yield from batch.to_pylist()
    except pa.ArrowInvalid:
        raise ValueError(f"{path} is not a whole Parquet file; write it again, or name a JSONL file") from None


def _without_nulls(value: Any) -> Any:
    """Leave out null fields: Parquet cannot tell an absent field from a null one."""
    if isinstance(value, dict):
        return {name: _without_nulls(field) for name, field in value.items() if field is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
