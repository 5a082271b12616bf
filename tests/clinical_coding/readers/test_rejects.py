"""What could not be read is kept, and never in the place of what is being read."""

from pathlib import Path

import pytest

from clinical_coding.readers import read_records


def test_the_input_is_not_taken_for_the_rejects_file(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("no JSON\n")
    with pytest.raises(ValueError, match="is the file that is read; name another"):
        list(read_records(f"jsonl:{path}", rejects=path))
    assert path.read_text() == "no JSON\n"
