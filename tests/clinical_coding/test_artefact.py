import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from clinical_coding.artefact import describe_errors, publish, publish_path, sha256_of_file, sha256_of_json
from clinical_coding.records import CodedRecord


def test_publish_leaves_nothing_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with pytest.raises(RuntimeError), publish(path) as stream:
        stream.write("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []


def test_publish_replaces_the_whole_file_under_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("a longer text before")
    before = os.umask(0o027)
    try:
        with publish(path) as stream:
            stream.write("é\n")
            assert path.read_text() == "a longer text before"
    finally:
        os.umask(before)
    assert path.read_bytes() == "é\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_publish_path_takes_bytes(tmp_path: Path) -> None:
    with publish_path(tmp_path / "file.bin") as aside:
        aside.write_bytes(b"\0\1")
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]
    assert (tmp_path / "file.bin").read_bytes() == b"\0\1"


def test_hashes_follow_content_not_form(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert sha256_of_file(path) == hashlib.sha256(b"abc").hexdigest()
    assert sha256_of_json({"b": 1, "a": "é"}) == sha256_of_json(json.loads('{"a": "\\u00e9", "b": 1}'))
    assert sha256_of_json([1, 2]) != sha256_of_json([2, 1])


def test_describe_errors_names_fields_and_never_repeats_input() -> None:
    with pytest.raises(ValidationError) as caught:
        CodedRecord.model_validate(
            {"record_id": "r1", "encounter": {"setting": "SECRET"}, "notes": [{"note_id": "n1", "text": ["SECRET"]}]}
        )
    text = describe_errors(caught.value)
    assert "patient_id: Field required" in text
    assert "encounter.setting: Input should be 'outpatient'" in text
    assert "notes.0.text: " in text
    assert "SECRET" not in text


@pytest.mark.parametrize("version", [0, 2])
def test_another_schema_version_is_refused_with_a_remedy(version: int) -> None:
    with pytest.raises(ValidationError) as caught:
        CodedRecord.model_validate({"schema_version": version})
    assert "schema_version: only version 1 is read here; read the file with the release" in describe_errors(
        caught.value
    )
