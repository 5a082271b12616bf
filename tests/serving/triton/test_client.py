import asyncio
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from clinical_coding.bundle import Label
from clinical_coding.codes import CodeSystem
from clinical_coding.records import Note
from serving.backends import BackendUnavailableError, DeadlineExceededError, Timings
from serving.triton.client import TritonBackend
from serving.triton.config import BUNDLE_SHA256, CODE_INDEX, CONFIDENCE, EVIDENCE, SUGGESTED, TIMINGS

LABELS = (Label(system=CodeSystem.ICD10CM, release="2026-04", code="R07.9", description="Chest pain"),)
NOTES = (Note(note_id="n1", text="Chest pain."),)


def test_nobody_at_the_address(run: Any, free_port: int) -> None:
    backend = TritonBackend(f"127.0.0.1:{free_port}", version=1, labels=LABELS, bundle_sha256="0" * 64)

    async def ask() -> None:
        with pytest.raises(BackendUnavailableError, match=f"{free_port} cannot answer: UNAVAILABLE"):
            await backend.score(NOTES, timeout_seconds=2)
        await backend.close()
        await backend.close()

    run(ask())


class Closing:
    """gRPC's client, as its calls end when the channel is closed."""

    async def infer(self, *_: object, **__: object) -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError


class Waiting:
    async def infer(self, *_: object, **__: object) -> None:
        await asyncio.sleep(60)


def test_a_channel_closed_under_a_call_is_no_cancellation_of_the_caller(run: Any, free_port: int) -> None:
    backend = TritonBackend(f"127.0.0.1:{free_port}", version=1, labels=LABELS, bundle_sha256="0" * 64)

    async def ask() -> None:
        backend._client = Closing()
        with pytest.raises(BackendUnavailableError, match="channel was closed"):
            await backend.score(NOTES, timeout_seconds=2)
        backend._client = Waiting()
        asking = asyncio.create_task(backend.score(NOTES, timeout_seconds=2))
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()

    run(ask())


def test_no_time_left_asks_nobody(run: Any, free_port: int) -> None:
    backend = TritonBackend(f"127.0.0.1:{free_port}", version=1, labels=LABELS, bundle_sha256="0" * 64)
    with pytest.raises(DeadlineExceededError):
        run(backend.score(NOTES, timeout_seconds=0))


def test_the_gateways_side_imports_no_torch() -> None:
    modules = "serving.triton.client, serving.triton.server, serving.triton.repository, serving.triton.config"
    program = f"import sys, {modules}\nsys.exit('torch' in sys.modules or 'training' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_proxy_of_the_environment_is_not_asked(run: Any, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.settimeout(0.3)
        for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for variable in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        backend = TritonBackend(f"127.0.0.1:{free_port}", version=1, labels=LABELS, bundle_sha256="0" * 64)

        async def ask() -> None:
            with pytest.raises(BackendUnavailableError):
                await backend.score(NOTES, timeout_seconds=2)
            await backend.close()

        run(ask())
        with pytest.raises(TimeoutError):
            proxy.accept()


class Answered:
    """An answer that a Triton could give, with some tensors in place of the right ones."""

    def __init__(self, **other: Any) -> None:
        self._tensors: dict[str, Any] = {
            CODE_INDEX: [[0]],
            CONFIDENCE: [[0.5]],
            SUGGESTED: [[True]],
            EVIDENCE: [[[0, 0, 0, 5]]],
            BUNDLE_SHA256: np.zeros((1, 32), dtype=np.uint8),
            TIMINGS: [[0.25, 0.5, 3, 100, 110, 40]],
        } | other

    def as_numpy(self, name: str) -> Any:
        return np.asarray(self._tensors[name])

    async def infer(self, *_: Any, **__: Any) -> Any:
        return self


@pytest.mark.parametrize(
    "other",
    [
        {CODE_INDEX: [[1]]},
        {CODE_INDEX: []},
        {CONFIDENCE: [[0.5, 0.4]]},
        {CONFIDENCE: [[7.0]]},
        {EVIDENCE: [[[0, 3, 0, 5]]]},
        {EVIDENCE: [[[0, 0, 0]]]},
        {TIMINGS: [[0.25]]},
    ],
)
def test_an_answer_that_cannot_be_read_is_no_answer(run: Any, monkeypatch: pytest.MonkeyPatch, other: Any) -> None:
    backend = TritonBackend("127.0.0.1:1", version=1, labels=LABELS, bundle_sha256="0" * 64)
    monkeypatch.setattr(backend, "_client", Answered())
    scored = run(backend.score(NOTES, timeout_seconds=1))
    assert scored.codes[0].code == "R07.9"
    assert scored.timings == Timings(
        0.0, 0.25, 0.5, batch_requests=3, batch_tokens=100, padded_tokens=110, num_tokens=40
    )
    monkeypatch.setattr(backend, "_client", Answered(**other))
    with pytest.raises(BackendUnavailableError, match="cannot be read"):
        run(backend.score(NOTES, timeout_seconds=1))
