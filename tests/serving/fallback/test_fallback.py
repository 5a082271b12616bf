"""The real worker process with a real bundle, for the failures that matter."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.bundle import read_bundle
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Note
from serving.backends import BackendUnavailableError, DeadlineExceededError, QueueFullError, ScoredCodes
from serving.fallback.client import FallbackBackend
from serving.fallback.messages import FRAME_HEADER, Cancel, frame
from serving.fallback.settings import FallbackSettings

NOTES = (Note(note_id="n1", text="Seen for essential hypertension and type 2 diabetes mellitus. Denies chest pain."),)
LONG = (Note(note_id="long", text="Hypertension and diabetes were discussed at length. " * 1_500),)
Scenario = Callable[[FallbackBackend], Awaitable[None]]


@pytest.fixture
def run(tiny_bundle: Path, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Run a scenario against a worker, and see that nothing of it is left."""

    def run_(scenario: Scenario, *, bundle: Path = tiny_bundle, sha256: str | None = None, **settings: Any) -> None:
        chosen = FallbackSettings.model_validate({"num_threads": 1, "restart_delay_seconds": 0.1} | settings)
        digest = sha256 or read_bundle(tiny_bundle)[1]
        pids: set[int] = set()

        async def main() -> None:
            backend = FallbackBackend(bundle, bundle_sha256=digest, settings=chosen, log_path=tmp_path / "worker.log")
            await backend.start()
            try:
                await scenario(backend)
            finally:
                pids.update({backend.pid} - {None})  # type: ignore[arg-type]
                await backend.stop()
                assert backend.state == "stopped"
                with pytest.raises(BackendUnavailableError, match="stopped"):
                    await backend.score(NOTES, timeout_seconds=1)

        asyncio.run(main())
        assert not any(is_alive(pid) for pid in pids)

    yield run_


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def warm(backend: FallbackBackend) -> None:
    await backend.wait_until_warm(timeout_seconds=60)


@dataclass(frozen=True)
class Shared:
    """One warm worker, which takes seconds to load, and the event loop that it belongs to."""

    backend: FallbackBackend
    run: Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(scope="module")
def shared(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    settings = FallbackSettings(num_threads=1, restart_delay_seconds=0.1, max_waiting=12)
    log_path = tmp_path_factory.mktemp("shared") / "worker.log"
    digest = read_bundle(tiny_bundle)[1]
    backend = FallbackBackend(tiny_bundle, bundle_sha256=digest, settings=settings, log_path=log_path)
    with asyncio.Runner() as runner:
        runner.run(backend.start())
        runner.run(warm(backend))
        yield Shared(backend, runner.run)
        runner.run(backend.stop())


def test_answers_are_the_forwards_own_alone_and_in_batches(shared: Shared, tiny_bundle: Path) -> None:
    from training.model import Scorer

    documents = [NOTES, (Note(note_id="a", text="Atrial fibrillation."),), (*NOTES, Note(note_id="b", text="Asthma."))]
    expected = Scorer(tiny_bundle, num_threads=1).score(documents)

    async def scenario(backend: FallbackBackend) -> None:
        alone = await backend.score(documents[0], timeout_seconds=30)
        together = await asyncio.gather(*(backend.score(one, timeout_seconds=30) for one in documents * 3))
        for answer, wanted in zip([alone, *together], [expected[0], *expected * 3], strict=True):
            assert_equal(answer.codes, wanted)

    shared.run(scenario(shared.backend))


def assert_equal(answer: tuple[PredictedCode, ...], wanted: tuple[PredictedCode, ...]) -> None:
    assert {code.key for code in answer if code.suggested} == {code.key for code in wanted if code.suggested}
    by_key = {code.key: code for code in wanted}
    for code in answer[:20]:
        # Padding to another length rounds float32 sums otherwise; the product promises 1e-5.
        assert code.confidence == pytest.approx(by_key[code.key].confidence, abs=1e-5)
        assert code.evidence == by_key[code.key].evidence


def test_a_stopped_worker_costs_no_more_than_the_deadline(shared: Shared) -> None:
    async def scenario(backend: FallbackBackend) -> None:
        assert backend.pid is not None
        os.kill(backend.pid, signal.SIGSTOP)
        try:
            started = time.perf_counter()
            with pytest.raises(DeadlineExceededError, match=r"within 0\.3 s"):
                await backend.score(NOTES, timeout_seconds=0.3)
            assert time.perf_counter() - started < 1
            assert backend.num_waiting == 0
        finally:
            os.kill(backend.pid, signal.SIGCONT)
        assert await backend.score(NOTES, timeout_seconds=30)

    shared.run(scenario(shared.backend))


def test_one_request_too_many_is_refused_at_once(shared: Shared) -> None:
    async def scenario(backend: FallbackBackend) -> None:
        calls = [backend.score(NOTES, timeout_seconds=30) for _ in range(14)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, QueueFullError) for result in results) == 2
        assert sum(isinstance(result, ScoredCodes) for result in results) == 12

    shared.run(scenario(shared.backend))


def test_a_stopped_worker_is_replaced_and_tells_those_who_wait(shared: Shared) -> None:
    async def scenario(backend: FallbackBackend) -> None:
        assert backend.pid is not None
        os.kill(backend.pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(BackendUnavailableError, match="it was stopped"):
            await backend.score(NOTES, timeout_seconds=30)
        assert time.monotonic() - started < 2
        await asyncio.sleep(0.2)
        assert (await backend.score(NOTES, timeout_seconds=60)).codes

    shared.run(scenario(shared.backend))


def test_a_killed_worker_fails_what_waits_and_comes_back(shared: Shared) -> None:
    async def scenario(backend: FallbackBackend) -> None:
        first, restarts = backend.pid, backend.num_restarts
        assert first is not None
        waiting = asyncio.create_task(backend.score(LONG, timeout_seconds=30))
        await asyncio.sleep(0.05)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(BackendUnavailableError, match="it died"):
            await waiting
        with pytest.raises(BackendUnavailableError, match="being started again"):
            await backend.score(NOTES, timeout_seconds=5)
        await asyncio.sleep(0.2)
        # The new worker is loading: whoever asks now waits for it.
        assert await backend.score(NOTES, timeout_seconds=30)
        assert backend.num_restarts == restarts + 1
        assert backend.pid not in (None, first)
        assert not is_alive(first)

    shared.run(scenario(shared.backend))


def test_a_cold_worker_starts_at_the_first_request(run: Callable[..., None]) -> None:
    async def scenario(backend: FallbackBackend) -> None:
        await asyncio.sleep(0.1)
        assert (backend.state, backend.pid) == ("cold", None)
        with pytest.raises(DeadlineExceededError):
            await backend.score(NOTES, timeout_seconds=0.05)
        assert backend.state == "loading"
        assert await backend.score(NOTES, timeout_seconds=60)
        assert backend.state == "warm"

    run(scenario, mode="cold")


def test_a_bundle_that_is_damaged_or_another_is_not_served(
    run: Callable[..., None], tiny_bundle: Path, tmp_path: Path
) -> None:
    async def damaged(backend: FallbackBackend) -> None:
        with pytest.raises(BackendUnavailableError, match=r"cannot start: no model bundle at .*nowhere"):
            await warm(backend)

    async def another(backend: FallbackBackend) -> None:
        with pytest.raises(BackendUnavailableError, match="another bundle than the version's"):
            await warm(backend)

    run(damaged, bundle=tmp_path / "nowhere")
    run(another, sha256="0" * 64)


def test_supervision_outlives_a_worker_that_cannot_be_started(tiny_bundle: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "logs"
    blocked.write_text("a file where the folder should be")
    settings = FallbackSettings(num_threads=1, restart_delay_seconds=0.1, max_restart_delay_seconds=0.1)
    digest = read_bundle(tiny_bundle)[1]
    backend = FallbackBackend(tiny_bundle, bundle_sha256=digest, settings=settings, log_path=blocked / "worker.log")

    async def main() -> None:
        await backend.start()
        with pytest.raises(BackendUnavailableError, match="cannot start: it died"):
            await warm(backend)
        blocked.unlink()
        await asyncio.sleep(0.3)
        assert await backend.score(NOTES, timeout_seconds=60)
        await backend.stop()

    asyncio.run(main())


def test_who_stops_a_worker_can_be_cancelled_meanwhile(run: Callable[..., None]) -> None:
    async def scenario(backend: FallbackBackend) -> None:
        await warm(backend)
        assert backend.pid is not None
        os.kill(backend.pid, signal.SIGSTOP)  # So that its end takes a while.
        os.waitid(os.P_PID, backend.pid, os.WSTOPPED)  # Of two signals that wait, SIGTERM would come first.
        stopping = asyncio.create_task(backend.stop())
        await asyncio.sleep(0.1)
        stopping.cancel()
        await asyncio.wait({stopping}, timeout=10)
        assert stopping.cancelled()

    run(scenario)


def test_the_worker_ends_with_a_parent_that_was_killed(tiny_bundle: Path, tmp_path: Path) -> None:
    program = f"""
import asyncio
from pathlib import Path
from serving.fallback.client import FallbackBackend
from serving.fallback.settings import FallbackSettings
async def main():
    backend = FallbackBackend(Path({str(tiny_bundle)!r}), bundle_sha256={read_bundle(tiny_bundle)[1]!r},
        settings=FallbackSettings(num_threads=1), log_path=Path({str(tmp_path / "log")!r}))
    await backend.start()
    await backend.wait_until_warm(timeout_seconds=60)
    print(backend.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    give_up_at = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    assert not is_alive(pid)


WAITING = """
import socket, sys
from serving.fallback.worker import _Inbox
connection = socket.socket(fileno=int(sys.argv[1]))
connection.sendall(b"an answer that nobody reads")
print("waiting", flush=True)
_Inbox(connection).next_batch(max_size=1, max_characters=1)
"""


@pytest.mark.parametrize(
    "last_words", [b"", frame(Cancel(number=1))[:3], FRAME_HEADER.pack(19) + b"Wilhelmina, seen fo"]
)
def test_the_worker_ends_in_silence_whatever_a_dying_gateway_leaves(last_words: bytes) -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", WAITING, str(theirs.fileno())]
    with (
        subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as worker,
        theirs,
    ):
        assert worker.stdout is not None
        assert worker.stdout.readline() == "waiting\n"
        ours.sendall(last_words)
        # With unread data this end resets the connection, as a killed process does.
        ours.close()
        theirs.close()
        try:
            _, complaints = worker.communicate(timeout=20)
        finally:
            worker.kill()
    assert (worker.returncode, complaints) == (0, "")
