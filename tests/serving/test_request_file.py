import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from serving.request_file import read_request, read_requests

REQUEST: dict[str, Any] = {
    "record_id": "r1",
    "patient_id": "p1",
    "encounter": {"setting": "outpatient", "specialty": "cardiology"},
    "notes": [{"note_id": "n1", "text": "Essential hypertension."}],
}


def read(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    return read_request(path, setting="outpatient", specialty="cardiology")


@pytest.mark.parametrize("more", [{}, {"codes": []}, {"schema_version": 1, "split": "test"}])
def test_a_request_and_a_coded_record_ask_the_same(tmp_path: Path, more: dict[str, Any]) -> None:
    content = json.dumps(REQUEST | more).encode()
    for mark in (b"", codecs.BOM_UTF8):
        assert read(tmp_path / "r.json", mark + content).model_dump(exclude_unset=True, mode="json") == REQUEST


def test_a_request_with_a_field_too_many_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"r\.json: .*Extra inputs"):
        read(tmp_path / "r.json", json.dumps(REQUEST | {"splitt": "test"}).encode())


def test_a_plain_note_begins_after_the_byte_order_mark(tmp_path: Path) -> None:
    assert read(tmp_path / "a.txt", codecs.BOM_UTF8 + b"Asthma.").notes[0].text == "Asthma."


def test_lines_are_requests_or_coded_records(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    path.write_bytes(
        codecs.BOM_UTF8 + json.dumps(REQUEST).encode() + b"\n\n" + json.dumps(REQUEST | {"codes": []}).encode()
    )
    first, second = read_requests(path)
    assert first == second and first.record_id == "r1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", r"night\.jsonl, line 2 is not valid JSON"),
        (b"[1]", r"line 2 is no JSON object"),
        (b'{"record_id": "r1", "notes": "pain"}', r"line 2: encounter: Field required"),
        (b'{"\xff": 1}', r"night\.jsonl is not UTF-8"),
    ],
)
def test_a_line_that_is_no_request_is_named_and_not_quoted(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "night.jsonl"
    path.write_bytes(json.dumps(REQUEST).encode() + b"\n" + line + b"\n")
    with pytest.raises(ValueError, match=message) as caught:
        list(read_requests(path))
    assert "pain" not in str(caught.value)


def test_a_file_of_lines_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        next(read_requests(tmp_path / "none.jsonl"))
