"""What supervision does where no real Triton can be made to fail just so."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serving.backends import RequestFailedError
from serving.triton.config import clinical_coder_config
from serving.triton.server import TritonServer


class FailingCanary:
    """A model that fails at the canary, and answers others while ``is_busy``."""

    def __init__(self, *, is_busy: bool) -> None:
        self._is_busy = is_busy
        self._num_answers = 0

    async def check(self, *, timeout_seconds: float) -> None:
        raise RequestFailedError("failed at these notes")

    async def num_answers(self, *, timeout_seconds: float) -> int:
        self._num_answers += self._is_busy
        return self._num_answers


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TritonServer:
    bundle = tmp_path / "repository" / "clinical-coder" / "1" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}")
    (bundle / "labels.json").write_text("[]")
    monkeypatch.setattr("serving.triton.server._CANARY_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr("serving.triton.server._HUNG_AFTER_SECONDS", 0.2)
    monkeypatch.setattr("serving.triton.server._FIRST_RESTART_DELAY_SECONDS", 0.01)
    config = clinical_coder_config(versions=(1,), device="cpu")
    return TritonServer(tmp_path / "repository", number=1, config=config, data_dir=tmp_path)


def test_a_canary_that_fails_while_others_are_answered_restarts_nothing(
    server: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TritonServer, "backend", FailingCanary(is_busy=True))

    async def watch() -> None:
        async with asyncio.timeout(0.6):
            await server._silence()

    with pytest.raises(TimeoutError):
        asyncio.run(watch())


def test_a_model_that_fails_at_everything_is_replaced(server: TritonServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TritonServer, "backend", FailingCanary(is_busy=False))
    assert "no request was answered" in asyncio.run(asyncio.wait_for(server._silence(), 5))


def test_supervision_outlives_what_nobody_foresaw(server: TritonServer, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Any] = [RuntimeError("Wilhelmina"), KeyError("n1")]
    restarted = asyncio.Event()

    async def fault() -> str:
        if outcomes:
            raise outcomes.pop()
        return "it died"

    async def restart(_: float) -> float:
        restarted.set()
        return await asyncio.sleep(60, 0.0)

    monkeypatch.setattr(server, "_first_fault", fault)
    monkeypatch.setattr(server, "_restart", restart)

    async def scenario() -> None:
        supervision = asyncio.create_task(server.supervise())
        await asyncio.wait_for(restarted.wait(), 5)
        supervision.cancel()
        await asyncio.wait([supervision])

    asyncio.run(scenario())
    assert not outcomes
