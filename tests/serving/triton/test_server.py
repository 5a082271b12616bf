import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from clinical_coding.predictions import PredictedCode
from clinical_coding.readers import read_records
from clinical_coding.records import Note
from serving.backends import (
    BackendUnavailableError,
    DeadlineExceededError,
    QueueFullError,
    RequestFailedError,
    ScoredCodes,
)
from serving.triton.client import TritonBackend
from serving.triton.config import clinical_coder_config
from serving.triton.process import TritonProcess
from serving.triton.repository import render_version
from serving.triton.server import ServerState, TritonServer, TritonStartError

Expected = tuple[tuple[Note, ...], tuple[PredictedCode, ...]]

CONFIG = clinical_coder_config(versions=(1,), device="cpu")
SECRET = "Wilhelmina Quartermaine"
DOCUMENTS = [
    (Note(note_id="n1", text=f"{SECRET} seen for chest pain and type 2 diabetes. No fever."),),
    (Note(note_id="a", text="History of hypertension."), Note(note_id="b", text="Acute kidney injury, improving.")),
    (Note(note_id="ü-1", text="Fièvre élevée \N{THERMOMETER} 39 °C — pneumonia suspected."),),
    (Note(note_id="long", text="Cough and shortness of breath for three days. " * 60),),
]


def assert_equal_codes(served: tuple[PredictedCode, ...], expected: tuple[PredictedCode, ...]) -> None:
    assert [(one.key, one.suggested, one.evidence) for one in served] == [
        (one.key, one.suggested, one.evidence) for one in expected
    ]
    # Confidences travel as 32-bit floats.
    assert [one.confidence for one in served] == pytest.approx([one.confidence for one in expected], abs=1e-5)


def assert_equal_in_a_batch(served: tuple[PredictedCode, ...], expected: tuple[PredictedCode, ...]) -> None:
    """As above, but a batch is summed in another order, so codes of the same confidence may swap ranks."""
    by_key, expected_by_key = ({one.key: one for one in codes} for codes in (served, expected))
    least = expected[-1].confidence if expected else 0.0
    for key in by_key.keys() | expected_by_key.keys():
        one, other = by_key.get(key), expected_by_key.get(key)
        assert (one.confidence if one else least) == pytest.approx(other.confidence if other else least, abs=1e-5)
    assert {one.key: one.evidence for one in served if one.suggested} == {
        one.key: one.evidence for one in expected if one.suggested
    }


@pytest.fixture(scope="module")
def expected(tiny_bundle: Path) -> list[Expected]:
    """Documents with their codes, scored in this process; the sample's are those that the bundle knows codes for."""
    from training.model import Scorer

    sample = [record.notes for record in read_records("sample:4?seed=5")]
    scorer = Scorer(tiny_bundle, num_threads=1)
    return [(notes, scorer.score([notes])[0]) for notes in [*DOCUMENTS, *sample]]


def test_served_codes_equal_in_process_codes(running: Any, run: Any, expected: list[Expected]) -> None:
    for notes, codes in expected:
        assert_equal_codes(run(running.sound.score(notes, timeout_seconds=10)).codes, codes)
    assert any(code.evidence for _, codes in expected for code in codes)


def test_sixteen_clients_get_their_own_answers(running: Any, run: Any, expected: list[Expected]) -> None:
    async def ask(client: int) -> None:
        for turn in range(3):
            notes, codes = expected[(client + turn) % len(expected)]
            served = await running.sound.score(notes, timeout_seconds=20)
            assert_equal_in_a_batch(served.codes, codes)

    async def ask_all() -> None:
        await asyncio.gather(*(ask(client) for client in range(16)))

    run(ask_all())


def test_deadline(running: Any, run: Any) -> None:
    with pytest.raises(DeadlineExceededError):
        run(running.faulty.score((Note(note_id="n1", text="slow"),), timeout_seconds=0.3))


def test_a_full_queue_says_when_to_come_back(running: Any, run: Any) -> None:
    async def ask() -> list[Any]:
        slow = asyncio.ensure_future(running.faulty.score((Note(note_id="n1", text="slow"),), timeout_seconds=30))
        await asyncio.sleep(0.3)
        crowd = [running.faulty.score(DOCUMENTS[0], timeout_seconds=30) for _ in range(60)]
        answers = await asyncio.gather(*crowd, return_exceptions=True)
        await slow
        return answers

    answers = run(ask())
    refused = [answer for answer in answers if isinstance(answer, QueueFullError)]
    served = [answer for answer in answers if isinstance(answer, ScoredCodes)]
    assert refused[0].retry_after_seconds > 0
    assert len(refused) + len(served) == 60
    # The queue holds 24, of which an abandoned request may take one; a batch of up to 16 more may have left it.
    assert 23 <= len(served) <= 40


def test_a_version_that_does_not_load_leaves_the_others_alone(running: Any, run: Any, tiny_bundle: Path) -> None:
    version = render_version(running.repository, bundle=tiny_bundle, number=3)
    (version / "bundle" / "labels.json").unlink()
    (version / "bundle" / "labels.json").write_text("[]")

    async def scenario() -> None:
        asking = asyncio.ensure_future(running.server.load(3))
        while not asking.done():
            await running.sound.check(timeout_seconds=10)
        with pytest.raises(BackendUnavailableError, match=rf"did not load versions 1, 2, 3.*{running.server.log_path}"):
            await asking
        await running.faulty.check(timeout_seconds=10)
        assert running.server.process.fault() is None

    run(scenario())
    assert (running.server.state, running.server.backend) == (ServerState.READY, running.faulty)


def test_a_number_is_served_once(running: Any, run: Any) -> None:
    with pytest.raises(ValueError, match="version 2 is served already; stop the server to serve another bundle as 2"):
        run(running.server.load(2))


def test_another_bundle_under_the_same_number_is_noticed(running: Any, run: Any) -> None:
    stranger = TritonBackend(running.sound.url, version=1, labels=(), bundle_sha256="ab" * 32)

    async def ask() -> None:
        with pytest.raises(BackendUnavailableError, match="another bundle than abababababab"):
            await stranger.check(timeout_seconds=10)
        await stranger.close()

    run(ask())


def test_nobody_unloads_the_model_or_maps_memory(running: Any, run: Any) -> None:
    async def ask() -> None:
        async with InferenceServerClient(running.sound.url) as client:
            with pytest.raises(InferenceServerException, match="restricted"):
                await client.unload_model("clinical-coder")
            with pytest.raises(InferenceServerException, match="restricted"):
                await client.get_system_shared_memory_status()

    run(ask())


async def noticed_and_back_after(server: TritonServer, harm: Callable[[TritonProcess], None]) -> float:
    """Harm a part under supervision; how many seconds until it was noticed, once the server is back."""
    supervisor = asyncio.ensure_future(server.supervise())
    await asyncio.sleep(0.1)
    assert server.process is not None
    clock = asyncio.get_running_loop().time
    harmed = clock()
    harm(server.process)
    async with asyncio.timeout(60):
        while server.state is ServerState.READY:
            await asyncio.sleep(0.01)
        noticed = clock() - harmed
        while server.state is not ServerState.READY:
            await asyncio.sleep(0.05)
    await server.backend.check(timeout_seconds=10)
    supervisor.cancel()
    await asyncio.wait([supervisor])
    return noticed


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victim", ["stub", "server"])
def test_a_killed_or_stopped_part_is_noticed_and_brought_back(
    running: Any, run: Any, victim: str, signal_number: int
) -> None:
    def harm(process: TritonProcess) -> None:
        for pid in process.stub_pids() if victim == "stub" else [process.pid]:
            os.kill(pid, signal_number)

    async def ask_meanwhile() -> float:
        """How long somebody waits who asked just before."""
        await asyncio.sleep(0.05)
        asked = asyncio.get_running_loop().time()
        with contextlib.suppress(BackendUnavailableError):
            await running.faulty.score((Note(note_id="n1", text="slow"),), timeout_seconds=30)
        return asyncio.get_running_loop().time() - asked

    async def scenario() -> tuple[float, float]:
        waiting = asyncio.ensure_future(ask_meanwhile())
        noticed = await noticed_and_back_after(running.server, harm)
        return noticed, await waiting

    def regions() -> int:
        owner = running.server.process._shm_prefix.split("-")[1]
        return len(list(Path("/dev/shm").glob(f"chartloop-{owner}-*")))

    restarts, regions_before = running.server.num_restarts, regions()
    noticed, waited = run(scenario())
    assert noticed < 2
    # The slow answer takes 1.5 s; who gets none is told as soon as the fault is known.
    assert waited < 3
    assert running.server.num_restarts == restarts + 1
    # Nothing of the server that was killed is left; a fresh one may hold less.
    assert 0 < regions() <= regions_before


def test_a_busy_server_is_left_alone(running: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.triton.server._CANARY_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr("serving.triton.server._CANARY_TIMEOUT_SECONDS", 0.001)
    monkeypatch.setattr("serving.triton.server._HUNG_AFTER_SECONDS", 1.0)
    restarts = running.server.num_restarts

    async def keep_busy() -> None:
        supervisor = asyncio.ensure_future(running.server.supervise())
        clock = asyncio.get_running_loop().time
        until = clock() + 2.5
        while clock() < until:
            await running.sound.score(DOCUMENTS[0], timeout_seconds=10)
        supervisor.cancel()
        await asyncio.wait([supervisor])

    run(keep_busy())
    assert (running.server.state, running.server.num_restarts) == (ServerState.READY, restarts)


def test_the_log_is_private_and_holds_no_note(running: Any, run: Any) -> None:
    notes = (Note(note_id="n1", text=f"{SECRET} breaks the scorer."),)
    with pytest.raises(RequestFailedError):
        run(running.faulty.score(notes, timeout_seconds=10))

    log = running.server.log_path.read_text()
    assert "scoring failed: request" in log and "RuntimeError at model.py" in log
    assert SECRET.split()[0] not in log
    assert running.server.log_path.stat().st_mode & 0o777 == 0o600


def test_a_port_in_use_is_named_before_the_start(running: Any, run: Any, tmp_path: Path, free_port: int) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        server = TritonServer(
            running.repository,
            number=1,
            config=CONFIG,
            data_dir=tmp_path,
            grpc_port=free_port,
            metrics_port=taken,
        )
        with pytest.raises(ValueError, match=f"port {taken}, for Triton's metrics.*choose another port"):
            run(server.start())
    assert server.state is ServerState.DOWN
    assert not server.log_path.exists()


def test_a_start_that_takes_too_long_names_the_log(
    running: Any, run: Any, tmp_path: Path, two_free_ports: list[int]
) -> None:
    grpc_port, metrics_port = two_free_ports
    server = TritonServer(
        running.repository,
        number=1,
        config=CONFIG,
        data_dir=tmp_path,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        start_timeout_seconds=0.2,
    )
    with pytest.raises(TritonStartError, match=rf"within 0\.2 s.*{server.log_path}"):
        run(server.start())
    assert server.state is ServerState.DOWN
    assert server.process is None


def test_a_model_that_does_not_load_names_the_log(run: Any, tmp_path: Path, two_free_ports: list[int]) -> None:
    bundle = tmp_path / "repository" / "clinical-coder" / "1" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}")
    (bundle / "labels.json").write_text("[]")
    (bundle.parent / "model.py").write_text("raise ValueError('numpy 2.4 must be below 2')\n")
    grpc_port, metrics_port = two_free_ports
    server = TritonServer(
        tmp_path / "repository",
        number=1,
        config=CONFIG,
        data_dir=tmp_path,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
    )
    with pytest.raises(TritonStartError, match=rf"ended with code 1 before it could answer; see {server.log_path}"):
        run(server.start())
    assert "numpy 2.4 must be below 2" in server.log_path.read_text()


def test_a_version_that_is_not_published_is_refused(running: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="version 9 is not in the model repository"):
        TritonServer(running.repository, number=9, config=CONFIG, data_dir=tmp_path)
