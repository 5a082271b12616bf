import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clinical_coding.readers import read_records, write_parquet
from clinical_coding.records import CodedRecord

Make = Callable[..., CodedRecord]
GOLDEN = Path(__file__).parents[2] / "golden" / "coded-record.json"


def test_what_is_written_is_read_again(make_record: Make, tmp_path: Path) -> None:
    golden = CodedRecord.model_validate_json(GOLDEN.read_text())
    records = [golden, *(make_record(f"r{number}", split="dev") for number in range(2, 600))]
    path = tmp_path / "records.parquet"
    assert write_parquet(iter(records), path) == 599
    assert list(read_records(f"parquet:{path}")) == records
    assert pq.ParquetFile(path).num_row_groups == 3


def test_other_tools_can_query_inside_the_columns(make_record: Make, tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    write_parquet([make_record()], path)
    table = pq.read_table(path)
    assert table.column_names == list(CodedRecord.model_fields)
    assert table.column("encounter").combine_chunks().field("setting").to_pylist() == ["inpatient"]


def test_few_columns_are_enough_and_bad_rows_are_kept(tmp_path: Path) -> None:
    rows = [
        {"record_id": "r1", "patient_id": "p1", "notes": [{"note_id": "n1", "text": "Chest pain."}]},
        {"record_id": "r2", "patient_id": "p2", "notes": [{"note_id": "n1", "text": " "}]},
        {"record_id": "r1", "patient_id": "p3", "notes": [{"note_id": "n1", "text": "Cough."}]},
    ]
    encounter = {"setting": "emergency", "specialty": "cardiology"}
    path, rejects = tmp_path / "records.parquet", tmp_path / "rejects.jsonl"
    pq.write_table(pa.Table.from_pylist([row | {"encounter": encounter} for row in rows]), path)
    assert [record.patient_id for record in read_records(f"parquet:{path}", rejects=rejects)] == ["p1"]
    kept = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [(reject["line"], reject["reason"].split(":")[0]) for reject in kept] == [
        (2, "notes.0"),
        (3, "record_id 'r1' was read before; give every record its own"),
    ]
    assert json.loads(kept[1]["raw"])["notes"] == rows[2]["notes"]


def test_a_patient_in_two_splits_ends_the_reading(make_record: Make, tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    records = [make_record(split, patient_id="p", split=split) for split in ("dev", "test")]
    write_parquet(records, path)
    with pytest.raises(ValueError, match="row 2: split: records 'dev'"):
        list(read_records(f"parquet:{path}"))


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing more"])
def test_no_parquet_file_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "records.parquet"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a whole Parquet file"):
        list(read_records(f"parquet:{path}"))


def test_a_cut_file_never_appears(make_record: Make, tmp_path: Path) -> None:
    def records() -> "list[CodedRecord]":
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_parquet((record for _ in range(1) for record in records()), tmp_path / "records.parquet")
    assert list(tmp_path.iterdir()) == []
