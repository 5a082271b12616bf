import json
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.readers import PatientInTwoSplitsError, assign_split, read_records, write_jsonl
from clinical_coding.records import CodedRecord

Make = Callable[..., CodedRecord]
Fields = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def code(text: str, **changes: Any) -> dict[str, Any]:
    return {"system": "icd10cm", "release": "2026-04", "code": text} | changes


def test_what_is_written_is_read_again(make_record: Make, tmp_path: Path) -> None:
    records = [make_record("r1", split="dev"), make_record("r2", split="train")]
    path = tmp_path / "new" / "records.jsonl"
    assert write_jsonl(iter(records), path) == 2
    assert list(read_records(f"jsonl:{path}")) == records


def test_records_without_a_split_get_their_patient_s(make_fields: Fields, write_lines: Write) -> None:
    path = write_lines(*(make_fields(f"r{number}") for number in range(40)))
    for record in read_records(f"jsonl:{path}"):
        assert record.split is assign_split(record.patient_id)


BAD = [
    ("{", "Invalid JSON"),
    ('["r1"]', "record: Input should be an object"),
    ('{"record_id": "r\\ud800"}', "Invalid JSON"),
    ({"patient_id": 7}, "patient_id: Input should be a valid string"),
    ({"encounter": {"setting": "inpatient"}}, "encounter.specialty: Field required"),
    ({"notes": [{"note_id": "n1", "text": " "}]}, "notes.0: text must hold more than white space"),
    ({"codes": [code("I21.45")]}, "codes.0.code: 'I21.45' is not a code of ICD-10-CM 2026-04 (nearest: I21.4)"),
    ({"codes": [code("I10"), code("I21")]}, "codes.1.code: 'I21' is not a code"),
    ({"codes": [code("I10", release=None), code("Z00.9", release=None)]}, "codes.1.code: 'Z00.9' is not a code"),
    ({"codes": [code("I21.4", evidence=[{"note_id": "n1", "start": 5, "end": 900}])]}, "out of range"),
    ({"codes": [code("I10", evidence=[{"note_id": "n1", "start": s, "end": 9} for s in (1, 2)])]}, "codes.0: evidence"),
    ({"schema_version": 0}, "schema_version: only version 1 is read here"),
    ({"schema_version": 2}, "schema_version: only version 1 is read here"),
    ({"record_id": "r1"}, "record_id 'r1' was read before"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_a_bad_line_is_kept_with_file_line_and_reason(
    make_fields: Fields, write_lines: Write, tmp_path: Path, bad: Any, reason: str
) -> None:
    line = bad if isinstance(bad, str) else json.dumps(make_fields("bad") | bad)
    path = write_lines(make_fields("r1"), "", line, make_fields("r2"))
    rejects = tmp_path / "rejects.jsonl"
    records = list(read_records(f"jsonl:{path}", rejects=rejects))
    assert [record.record_id for record in records] == ["r1", "r2"]
    (rejected,) = [json.loads(text) for text in rejects.read_text().splitlines()]
    assert rejected["file"] == str(path)
    assert rejected["line"] == 3
    assert reason in rejected["reason"]
    assert rejected["raw"] == line


def test_codes_of_another_release_are_not_judged_by_this_one(make_fields: Fields, write_lines: Write) -> None:
    path = write_lines(make_fields(codes=[code("I21.45", release="icd10es-2018")]))
    assert [record.codes[0].code for record in read_records(f"jsonl:{path}", max_rejects=0)] == ["I21.45"]


def test_bad_lines_are_logged_without_their_text(
    make_fields: Fields, write_lines: Write, caplog: pytest.LogCaptureFixture
) -> None:
    notes = [{"note_id": "n1", "text": "SECRET", "kind": "SECRET"}]
    path = write_lines(make_fields(), make_fields("r2", notes=notes), '{"notes": "SECRET"')
    assert len(list(read_records(f"jsonl:{path}"))) == 1
    assert f"{path}, line 2 is not read: notes.0.kind: Extra inputs are not permitted" in caplog.text
    assert "2 lines were not read" in caplog.text
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("max_rejects", [0, 2])
def test_reading_stops_at_the_limit_and_says_where(
    make_fields: Fields, write_lines: Write, tmp_path: Path, max_rejects: int
) -> None:
    path = write_lines(make_fields(), *["{"] * 4)
    rejects = tmp_path / "rejects.jsonl"
    with pytest.raises(ValueError, match=rf"records.jsonl, line {max_rejects + 2}: .*only {max_rejects} unreadable"):
        list(read_records(f"jsonl:{path}", rejects=rejects, max_rejects=max_rejects))
    assert len(rejects.read_text().splitlines()) == max_rejects + 1


def test_rejected_lines_are_for_the_user_s_eyes_alone(write_lines: Write, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.jsonl"
    assert list(read_records(f"jsonl:{write_lines('{')}", rejects=rejects)) == []
    assert stat.S_IMODE(rejects.stat().st_mode) == 0o600


def test_a_clean_file_leaves_no_rejects_file(make_fields: Fields, write_lines: Write, tmp_path: Path) -> None:
    assert len(list(read_records(f"jsonl:{write_lines(make_fields())}", rejects=tmp_path / "rejects.jsonl"))) == 1
    assert not (tmp_path / "rejects.jsonl").exists()


@pytest.mark.parametrize(
    ("encoding", "remedy"),
    [
        ("utf-16", "iconv -f UTF-16 -t UTF-8"),
        ("utf-16-le", "iconv -f UTF-16 -t UTF-8"),
        ("utf-16-be", "iconv -f UTF-16 -t UTF-8"),
        ("latin-1", "iconv -f LATIN1 -t UTF-8"),
    ],
)
def test_another_encoding_is_named_with_its_remedy(
    make_fields: Fields, tmp_path: Path, encoding: str, remedy: str
) -> None:
    path = tmp_path / "records.jsonl"
    fields = make_fields(notes=[{"note_id": "n1", "text": "Ménière disease"}])
    path.write_text(json.dumps(fields, ensure_ascii=False) + "\n", encoding=encoding)
    with pytest.raises(ValueError, match=rf"line 1 is not UTF-8 text .*{remedy}"):
        list(read_records(f"jsonl:{path}"))


def test_a_utf8_mark_and_windows_line_ends_are_no_fault(make_fields: Fields, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    text = "".join(json.dumps(make_fields(name)) + "\r\n" for name in ("r1", "r2"))
    path.write_text(text, encoding="utf-8-sig", newline="")
    assert [record.record_id for record in read_records(f"jsonl:{path}", max_rejects=0)] == ["r1", "r2"]


def test_a_patient_in_two_splits_ends_the_reading(make_fields: Fields, write_lines: Write) -> None:
    path = write_lines(
        make_fields("r1", patient_id="p1", split="train"), make_fields("r2", patient_id="p1", split="dev")
    )
    with pytest.raises(ValueError, match=r"line 2: split: records 'r1' \(train\) and 'r2' \(dev\) are of one patient"):
        list(read_records(f"jsonl:{path}"))
    assert issubclass(PatientInTwoSplitsError, ValueError)


def test_memory_does_not_grow_with_the_notes(make_fields: Fields, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    long_notes = [{"note_id": "n1", "text": "Chest pain. " * 8_000}]
    with path.open("w") as stream:
        for number in range(200):
            stream.write(json.dumps(make_fields(f"r{number}", notes=long_notes)) + "\n")
    assert path.stat().st_size > 19_000_000
    next(read_records(f"jsonl:{path}"))  # loads the code library before measuring
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_records(f"jsonl:{path}")) == 200
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_a_note_of_200000_characters_is_read_whole(make_fields: Fields, write_lines: Write) -> None:
    text = "x" * 199_999 + "é"
    path = write_lines(make_fields(notes=[{"note_id": "n1", "text": text}]))
    (record,) = read_records(f"jsonl:{path}")
    assert record.notes[0].text == text
