import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.readers import read_records
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from ledger.engine import ledger
from ledger.group_commit import write
from ledger.principals import authenticate, create_key
from ledger.suggestions import store


@pytest.fixture
def suggestion_id(tmp_path: Path, suggest_i10: Callable[[], Suggestion]) -> str:
    """A suggestion of I10 stored in the data directory ``tmp_path``."""
    [record] = read_records("sample:1")
    request = SuggestionRequest(record_id=record.record_id, encounter=record.encounter, notes=record.notes)
    suggestion = suggest_i10()
    with ledger(tmp_path) as engine:
        service = authenticate(engine, create_key(engine, role="service", name="ehr"))
        assert service is not None
        write(engine, lambda connection: store(connection, request, suggestion, principal=service))
    return suggestion.suggestion_id


def test_import_stores_once_reports_rejects_and_stops_past_the_limit(
    chartloop: Any, suggestion_id: str, tmp_path: Path
) -> None:
    codes = [{"action": "reject", "system": "icd10cm", "code": "I10", "reason": "not-documented"}]
    decision = {"suggestion_id": suggestion_id, "seconds_spent": 2, "codes": codes}
    path, rejects = tmp_path / "decisions.jsonl", tmp_path / "rejected.jsonl"
    path.write_text(json.dumps({"idempotency_key": "k1", "decision": decision}) + '\n{"idempotency_key": "k2"}\n')
    command = ("feedback", "import", path, "--data-dir", tmp_path)
    told = chartloop(*command, "--rejects", rejects)
    assert told.code == 0, told.err
    rows = dict(row.rsplit(maxsplit=1) for row in told.out.splitlines() if row.strip() and row.strip()[-1].isdigit())
    assert {name.strip(): count for name, count in rows.items()} == {
        "stored": "1",
        "there already": "0",
        "rejected": "1",
        "overrides": "1",
    }
    assert "decisions of local" in told.out
    assert json.loads(rejects.read_text())["reason"] == "decision: Field required"
    again = chartloop(*command, "--json")
    assert again.json == {"stored": 0, "there_already": 1, "rejected": 1, "overrides": 0}
    assert chartloop(*command, "--max-rejects", 0).code == 2
    assert chartloop("feedback", "import", path, "--data-dir", tmp_path, "--key", "wrong").code == 2
    assert chartloop("feedback", "import", tmp_path / "none.jsonl", "--data-dir", tmp_path).code == 2
