import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from clinical_coding.artefact import new_id
from clinical_coding.code_systems import CodeSystems
from clinical_coding.readers.rejects import Rejects
from clinical_coding.suggestions import Suggestion
from feedback.errors import ForbiddenError
from feedback.importing import BATCH_LINES, MAX_LINE_BYTES, ImportReport, import_decisions
from feedback.settings import FeedbackSettings, ReasonCodes
from feedback.tables import decisions, overrides
from ledger.audit_log import audit_log
from ledger.principals import Principal, create_key

Suggest = Callable[..., Suggestion]
Import = Callable[..., ImportReport]
ROOT = Path(__file__).parents[2]
SECRET = "Jane Roe complains of chest pain"


@pytest.fixture
def run(
    engine: Engine,
    people: Mapping[str, Principal],
    undrawn: FeedbackSettings,
    reasons: ReasonCodes,
    tmp_path: Path,
) -> Import:
    """Import a file, rejects going to ``rejected.jsonl``."""

    def run(path: Path, *, who: str = "coder", max_rejects: int = 100) -> ImportReport:
        with Rejects(tmp_path / "rejected.jsonl", max_rejects=max_rejects) as rejects:
            return import_decisions(
                engine,
                path,
                principal=people[who],
                settings=undrawn,
                reasons=reasons,
                rejects=rejects,
                advance=lambda _: None,
                systems=CodeSystems.embedded(),
            )

    return run


def line(suggestion_id: str, *codes: dict[str, Any], key: str | None = None) -> str:
    decision = {"suggestion_id": suggestion_id, "seconds_spent": 4, "codes": codes}
    return json.dumps({"idempotency_key": key or new_id(), "decision": decision}) + "\n"


def reject(code: str = "R07.9", reason: str = "integral-symptom") -> dict[str, Any]:
    return {"action": "reject", "system": "icd10cm", "code": code, "reason": reason}


def count(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_good_lines_are_stored_and_bad_ones_told_without_their_values(
    engine: Engine, suggest: Suggest, run: Import, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = suggest().suggestion_id, suggest().suggestion_id
    path = tmp_path / "decisions.jsonl"
    bad = [
        SECRET,
        json.dumps({"idempotency_key": "k", "decision": {"suggestion_id": other, "note": SECRET}}),
        json.dumps({"idempotency_key": "k", "decision": {"suggestion_id": other, "seconds_spent": SECRET}}),
        line(other, reject(reason=SECRET)).strip(),
        line(other, reject(code=SECRET)).strip(),
        line(other, reject(code="J45.20")).strip(),
        line("unknown").strip(),
        line(one).strip(),
        line(other, key="\n").strip(),
    ]
    path.write_text("\ufeff" + line(one, reject()) + "\n" + "\n".join(bad) + "\r\n" + line(other))
    with caplog.at_level(logging.DEBUG):
        report = run(path)
    assert report == ImportReport(num_stored=2, num_repeated=0, num_rejected=len(bad), num_overrides=1)
    assert (count(engine, decisions), count(engine, overrides)) == (2, 1)
    kept = [json.loads(text) for text in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert [entry["line"] for entry in kept] == list(range(3, 3 + len(bad)))
    assert [entry["raw"] for entry in kept] == bad
    assert (tmp_path / "rejected.jsonl").stat().st_mode & 0o077 == 0
    expected = [
        "Invalid JSON", "decision.note", "decision.seconds_spent", "decision.codes.0.reason", "decision.codes.0.code",
        "codes.0.code 'J45.20' of icd10cm is not suggested", "suggestion_id names no stored", "decided already",
        "idempotency key of 1 characters",
    ]  # fmt: skip
    for entry, reason in zip(kept, expected, strict=True):
        assert reason in entry["reason"]
        assert not any(word in entry["reason"] for word in ("Jane", "chest", "pain"))
    assert "Jane" not in caplog.text


def test_a_file_cut_in_the_middle_goes_on_when_given_again(
    engine: Engine, suggest: Suggest, run: Import, tmp_path: Path
) -> None:
    lines = [line(suggest().suggestion_id, reject()) for _ in range(6)]
    path = tmp_path / "decisions.jsonl"
    path.write_text("".join(lines)[: -len(lines[-1]) - len(lines[-2]) // 2])
    assert run(path) == ImportReport(num_stored=4, num_repeated=0, num_rejected=1, num_overrides=4)
    before = count(engine, audit_log)
    path.write_text("".join(lines))
    assert run(path) == ImportReport(num_stored=2, num_repeated=4, num_rejected=0, num_overrides=2)
    assert run(path) == ImportReport(num_stored=0, num_repeated=6, num_rejected=0, num_overrides=0)
    assert (count(engine, decisions), count(engine, overrides)) == (6, 6)
    assert count(engine, audit_log) == before + 2


def test_past_the_limit_it_stops_and_keeps_what_it_has(
    engine: Engine, suggest: Suggest, run: Import, tmp_path: Path
) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(line(suggest().suggestion_id) + "no\n" * (BATCH_LINES + 5) + line(suggest().suggestion_id))
    with pytest.raises(ValueError, match=r"decisions.jsonl, line 5: .* only 3 unreadable lines are allowed"):
        run(path, max_rejects=3)
    assert count(engine, decisions) == 1


def test_a_line_without_end_is_not_held_in_memory(suggest: Suggest, run: Import, tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text("x" * (MAX_LINE_BYTES * 3) + "\n" + line(suggest().suggestion_id))
    assert run(path) == ImportReport(num_stored=1, num_repeated=0, num_rejected=1, num_overrides=0)
    [kept] = (tmp_path / "rejected.jsonl").read_text().splitlines()
    assert json.loads(kept)["reason"] == "the line holds more than 1,048,576 bytes; expected one decision"
    assert len(kept) < MAX_LINE_BYTES * 2


def test_text_that_is_not_utf8_is_rejected(suggest: Suggest, run: Import, tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(line(suggest().suggestion_id).replace("4", "é").encode("latin-1") + line("x").encode("utf-16"))
    assert run(path).num_stored == 0


def test_a_role_that_may_not_decide_imports_nothing(
    engine: Engine, suggest: Suggest, run: Import, tmp_path: Path
) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(line(suggest().suggestion_id))
    with pytest.raises(ForbiddenError, match="role reviewer may not decide"):
        run(path, who="reviewer")
    with pytest.raises(ValueError, match="cannot be read"):
        run(tmp_path / "none.jsonl")


def test_a_killed_import_is_resumed_without_a_line_lost_or_twice(
    engine: Engine,
    empty_database_url: str,
    suggest: Suggest,
    run: Import,
    people: Mapping[str, Principal],
    tmp_path: Path,
) -> None:
    made = [suggest().suggestion_id for _ in range(60)]
    # Most lines escalate, which may be said again and again, so that few suggestions make a long file.
    rows = []
    for number in range(1_000):
        body = {"suggestion_id": made[number % 60], "outcome": "escalated", "seconds_spent": 1}
        rows.append(json.dumps({"idempotency_key": f"k{number}", "decision": body}) + "\n")
    rows += [line(suggestion_id, reject()) for suggestion_id in made]
    path = tmp_path / "decisions.jsonl"
    path.write_text("".join(rows))
    key = create_key(engine, role="coder", name="importer")
    command = [sys.executable, "-m", "scripts.chartloop", "feedback", "import", str(path), "--key", key]
    command += ["--database-url", empty_database_url, "--data-dir", str(tmp_path / "data")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    give_up_at = time.monotonic() + 60
    while count(engine, decisions) == 0 and process.poll() is None and time.monotonic() < give_up_at:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    half_way = count(engine, decisions)
    assert 0 < half_way < len(rows)
    done = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {
        "stored": len(rows) - half_way,
        "there_already": half_way,
        "rejected": 0,
        "overrides": told["overrides"],
    }
    assert (count(engine, decisions), count(engine, overrides)) == (len(rows), 60)
