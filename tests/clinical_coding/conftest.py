import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from clinical_coding.records import CodedRecord

# Examples share their cores with whatever else runs; time is no property of theirs.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

NOTE = "Chest pain for two hours. Troponin raised: NSTEMI. No diabetes."


def record_fields(record_id: str = "r1", **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "record_id": record_id,
        "patient_id": f"patient-of-{record_id}",
        "encounter": {"setting": "inpatient", "specialty": "cardiology"},
        "notes": [{"note_id": "n1", "text": NOTE}],
        "codes": [{"system": "icd10cm", "release": "2026-04", "code": "I21.4"}],
    }
    return fields | changes


@pytest.fixture(scope="session")
def make_fields() -> Callable[..., dict[str, Any]]:
    """Fields of a valid record, some of them replaced."""
    return record_fields


@pytest.fixture(scope="session")
def make_record() -> Callable[..., CodedRecord]:
    """A valid record, some of its fields replaced."""
    return lambda record_id="r1", **changes: CodedRecord.model_validate(record_fields(record_id, **changes))


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes a JSONL file; strings stand as they are, all else as JSON."""

    def write(*lines: Any) -> Path:
        path = tmp_path / "records.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
        return path

    return write
