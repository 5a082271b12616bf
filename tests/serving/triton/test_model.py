import asyncio
import re
import time
import urllib.request
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from clinical_coding.records import Note
from serving.backends import DeadlineExceededError, Priority, QueueFullError, RequestFailedError

SECRET = "Wilhelmina Quartermaine"
SOUND = (Note(note_id="n1", text="History of hypertension."),)
SLOW = (Note(note_id="n1", text="slow, " + "and so on " * 20),)
SLOWER = (Note(note_id="n1", text="slow, " + "and so on " * 40),)


async def infer_raw(client: Any, payload: bytes, *, copies: int = 1) -> Any:
    tensor = InferInput("NOTES", [copies, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[payload]] * copies, dtype=np.object_))
    return await client.infer("clinical-coder", [tensor], model_version="1", client_timeout=10)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"[1]",
        b'[{"note_id": "n1"}]',
        b'[{"note_id": "n1", "text": "   "}]',
        b'[{"note_id": "", "text": "x"}]',
        b'[{"note_id": "n1", "text": "x", "patient": "Wilhelmina Quartermaine"}]',
        b'[{"note_id": "n1", "text": "x"}, {"note_id": "n1", "text": "y"}]',
        b'[{"note_id": "n1", "text": "\\ud800"}]',
    ],
)
def test_bad_input_is_answered_with_a_fixed_message(running: Any, run: Any, payload: bytes) -> None:
    async def ask() -> None:
        async with InferenceServerClient(running.sound.url) as client:
            with pytest.raises(InferenceServerException) as caught:
                await infer_raw(client, payload)
            assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
            assert caught.value.message().startswith("NOTES must hold one JSON list")

    run(ask())


def test_two_documents_in_one_request_are_refused(running: Any, run: Any) -> None:
    async def ask() -> None:
        async with InferenceServerClient(running.sound.url) as client:
            with pytest.raises(InferenceServerException, match="NOTES must hold"):
                await infer_raw(client, b'[{"note_id": "n1", "text": "x"}]', copies=2)

    run(ask())


def test_good_requests_survive_bad_neighbours(running: Any, run: Any) -> None:
    breaking = (Note(note_id="n1", text=f"{SECRET} breaks the scorer."),)

    async def ask() -> list[Any]:
        documents = [SOUND, breaking, SOUND, breaking]
        asked = (running.faulty.score(notes, timeout_seconds=20) for notes in documents)
        return await asyncio.gather(*asked, return_exceptions=True)

    first, broken, second, broken_too = run(ask())
    assert [[code.confidence for code in answer.codes] for answer in (first, second)] == [[0.25], [0.25]]
    for error in (broken, broken_too):
        assert isinstance(error, RequestFailedError)
        assert SECRET not in str(error)


async def behind_a_slow_one(running: Any, *asked: Coroutine[Any, Any, Any]) -> list[float]:
    """Let requests gather into one batch; give the seconds until each was answered."""
    occupying = asyncio.create_task(running.faulty.score(SLOW, timeout_seconds=30))
    await asyncio.sleep(0.5)

    async def timed(one: Coroutine[Any, Any, Any]) -> float:
        started = time.perf_counter()
        await one
        return time.perf_counter() - started

    seconds = await asyncio.gather(*map(timed, asked))
    await occupying
    return list(seconds)


def test_a_short_request_does_not_wait_for_a_long_one_of_its_batch(running: Any, run: Any) -> None:
    first, second = (running.faulty.score(notes, timeout_seconds=30) for notes in (SLOW, SOUND))
    long, short = run(behind_a_slow_one(running, first, second))
    # The long one takes 1.5 s.
    assert long - short > 1


def test_bulk_goes_behind_interactive_however_short_it_is(running: Any, run: Any) -> None:
    first = running.faulty.score(SOUND, timeout_seconds=30, priority=Priority.BULK)
    second = running.faulty.score(SLOW, timeout_seconds=30)
    bulk, interactive = run(behind_a_slow_one(running, first, second))
    assert bulk >= interactive - 0.1


def test_bulk_has_a_queue_of_its_own(running: Any, run: Any) -> None:
    async def ask() -> tuple[Sequence[Any], Sequence[Any]]:
        occupying = asyncio.create_task(running.faulty.score(SLOW, timeout_seconds=30))
        await asyncio.sleep(0.5)
        bulk = [running.faulty.score(SOUND, timeout_seconds=30, priority=Priority.BULK) for _ in range(12)]
        interactive = [running.faulty.score(SOUND, timeout_seconds=30) for _ in range(12)]
        answers = await asyncio.gather(*bulk, *interactive, return_exceptions=True)
        await occupying
        return answers[:12], answers[12:]

    bulk, interactive = run(ask())
    assert sum(isinstance(answer, QueueFullError) for answer in bulk) >= 7
    assert not any(isinstance(answer, Exception) for answer in interactive)


def counters(running: Any, version: int) -> dict[str, float]:
    """What the model tells Prometheus."""
    with urllib.request.urlopen(running.metrics_url, timeout=10) as answer:
        text = answer.read().decode()
    pattern = rf'^chartloop_model_(\w+)_total\{{version="{version}"\}} (\S+)$'
    return {name: float(value) for name, value in re.findall(pattern, text, flags=re.MULTILINE)}


def test_what_nobody_waits_for_any_more_is_dropped(running: Any, run: Any) -> None:
    before = counters(running, 2)

    async def abandon() -> None:
        occupying = asyncio.create_task(running.faulty.score(SLOW, timeout_seconds=30))
        await asyncio.sleep(0.5)
        # Of the next batch, whose first takes 1.5 s from 1.5 s on: one leaves before the batch, two while it is scored.
        staying = asyncio.create_task(running.faulty.score(SLOW, timeout_seconds=30))
        await asyncio.sleep(0.1)
        leaving = asyncio.create_task(running.faulty.score(SLOWER, timeout_seconds=30))
        late = asyncio.create_task(running.faulty.score(SLOWER, timeout_seconds=1.8))
        with pytest.raises(DeadlineExceededError):
            await running.faulty.score(SLOW, timeout_seconds=0.3)
        await occupying
        await asyncio.sleep(0.3)
        leaving.cancel()
        await staying
        with pytest.raises(DeadlineExceededError):
            await late
        await running.faulty.score(SOUND, timeout_seconds=30)

    run(abandon())
    after = counters(running, 2)
    assert after["requests"] - before["requests"] == 3


def test_an_answer_and_the_metrics_tell_what_was_computed(running: Any, run: Any) -> None:
    before = counters(running, 1)
    timings = run(running.sound.score(SOUND, timeout_seconds=10)).timings
    after = counters(running, 1)
    assert timings.read_seconds > 0
    assert timings.scored_seconds > 0
    assert timings.batch_requests == 1
    # Of a single note no more than the special tokens, one at each end, comes on top.
    assert timings.batch_tokens == timings.padded_tokens == timings.num_tokens + 2
    assert after["tokens"] - before["tokens"] == timings.batch_tokens
    assert after["computed_tokens"] - before["computed_tokens"] == timings.padded_tokens
    assert after["passes"] - before["passes"] == after["requests"] - before["requests"] == 1


def test_an_answer_may_hold_no_codes(running: Any, run: Any) -> None:
    notes = (Note(note_id="n1", text="codeless"),)
    assert run(running.faulty.score(notes, timeout_seconds=10)).codes == ()


def test_loading_and_scoring_change_no_file_of_the_version(running: Any, run: Any, tiny_bundle: Path) -> None:
    version = running.repository / "clinical-coder" / "1"

    def snapshot() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in version.rglob("*")}

    before = snapshot()
    run(running.sound.score(SOUND, timeout_seconds=10))
    assert snapshot() == before
    files = {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()}
    bundled = {
        f"bundle/{path.relative_to(tiny_bundle).as_posix()}" for path in tiny_bundle.rglob("*") if path.is_file()
    }
    [compiled] = files - bundled - {"model.py"}
    assert compiled.startswith("__pycache__/model.")
