"""``kill -9`` of the gateway under writers: every acknowledged decision is there exactly once."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import httpx
from sqlalchemy import Connection, Engine, select

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.tables import decisions, overrides
from ledger.audit_log import entries
from ledger.audit_verify import verify
from ledger.engine import ledger
from ledger.group_commit import write
from ledger.principals import Principal, authenticate, create_key
from ledger.suggestions import store

NUM_WRITERS = 16
NUM_SUGGESTIONS = 600
NUM_ACKNOWLEDGED = 150
REQUEST = SuggestionRequest.model_validate(
    {
        "record_id": "r1",
        "encounter": {"setting": "outpatient", "specialty": "cardiology"},
        "notes": [{"note_id": "n1", "text": "Essential hypertension."}],
    }
)


def store_suggestions(engine: Engine, made: Sequence[Suggestion], *, principal: Principal) -> list[str]:
    def work(connection: Connection) -> None:
        for suggestion in made:
            store(connection, REQUEST, suggestion, principal=principal)

    write(engine, work)
    return [suggestion.suggestion_id for suggestion in made]


@contextlib.contextmanager
def serving(bundle: Path, data_dir: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run ``chartloop serve``, and end it with all that it started."""
    command = [sys.executable, "-m", "scripts.chartloop", "serve", "--version", str(bundle), "--backend", "local"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        ready = re.match(r"ready: (http://127\.0\.0\.1:\d+) ", process.stdout.readline())
        assert ready
        watchdog.cancel()
        yield process, ready[1]
    finally:
        watchdog.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def send(client: httpx.Client, suggestion_id: str) -> httpx.Response:
    """Decide: the one suggested code is rejected. The key is the suggestion's own."""
    codes = [{"action": "reject", "system": "icd10cm", "code": "I10", "reason": "integral-symptom"}]
    body = {"suggestion_id": suggestion_id, "codes": codes, "seconds_spent": 12.5}
    return client.post("/v1/decisions", json=body, headers={"Idempotency-Key": suggestion_id})


def send_until_killed(url: str, key: str, *, waiting: "SimpleQueue[str]", told: "SimpleQueue[tuple[str, str]]") -> None:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False) as client:
        while True:
            try:
                suggestion_id = waiting.get_nowait()
                answer = send(client, suggestion_id)
            except (Empty, httpx.TransportError):
                return
            assert answer.status_code == 201, answer.text
            told.put((suggestion_id, answer.json()["decision_id"]))


def decide_and_kill(process: "subprocess.Popen[str]", url: str, key: str, *, ids: list[str]) -> dict[str, str]:
    """Send decisions by many writers, kill the gateway among them; give the decision ids that were acknowledged."""
    waiting: SimpleQueue[str] = SimpleQueue()
    told: SimpleQueue[tuple[str, str]] = SimpleQueue()
    for suggestion_id in ids:
        waiting.put(suggestion_id)
    acknowledged: dict[str, str] = {}
    with ThreadPoolExecutor(NUM_WRITERS) as pool:
        writers = [pool.submit(send_until_killed, url, key, waiting=waiting, told=told) for _ in range(NUM_WRITERS)]
        while len(acknowledged) < NUM_ACKNOWLEDGED:
            acknowledged.update([told.get(timeout=60)])
        process.kill()
        for writer in writers:
            writer.result(60)
    while not told.empty():
        acknowledged.update([told.get()])
    assert not waiting.empty(), "the gateway was killed after its work was done"
    return acknowledged


def test_what_the_gateway_acknowledged_survives_it(
    tiny_bundle: Path, tmp_path: Path, suggest_i10: Callable[[], Suggestion]
) -> None:
    data_dir = tmp_path / "data"
    with ledger(data_dir) as engine:
        key = create_key(engine, role="coder", name="ann")
        principal = authenticate(engine, key)
        assert principal is not None
        ids = store_suggestions(engine, [suggest_i10() for _ in range(NUM_SUGGESTIONS)], principal=principal)
    with serving(tiny_bundle, data_dir) as (process, url):
        acknowledged = decide_and_kill(process, url, key, ids=ids)
    with serving(tiny_bundle, data_dir) as (_, url), ledger(data_dir) as engine:
        kept = check(engine)
        assert {kept[suggestion_id] for suggestion_id in acknowledged} == set(acknowledged.values())
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
            again = {suggestion_id: send(client, suggestion_id) for suggestion_id in (*acknowledged, ids[-1])}
        # The last was never sent; what was is not stored a second time.
        assert again.pop(ids[-1]).status_code == 201
        assert {answer.status_code for answer in again.values()} == {200}
        assert {name: answer.json()["decision_id"] for name, answer in again.items()} == acknowledged
        assert set(check(engine)) == {*kept, ids[-1]}


def check(engine: Engine) -> dict[str, str]:
    """Every decision is there once, whole, with its override and its entry; gives decision ids by suggestion."""
    assert verify(engine).is_whole
    with engine.connect() as connection:
        rows: list[Any] = list(connection.execute(select(decisions.c.suggestion_id, decisions.c.id)))
        overridden = Counter(connection.scalars(select(overrides.c.decision_id)))
    assert len({row.suggestion_id for row in rows}) == len(rows)
    assert overridden == Counter(row.id for row in rows)
    logged = Counter(entry["subject"] for entry in entries(engine, limit=100_000))
    assert all(logged[f"decision:{row.id}"] == 1 for row in rows)
    return {row.suggestion_id: row.id for row in rows}
