import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from clinical_coding.records import Note
from serving.backends import (
    BackendUnavailableError,
    DeadlineExceededError,
    InvalidInputError,
    Priority,
    QueueFullError,
    RequestFailedError,
    ScoredCodes,
)
from serving.gateway.dispatch import Dispatcher
from serving.gateway.settings import GatewaySettings

NOTES = (Note(note_id="n1", text="A note."),)
FAST = {"probe_seconds": 0.02, "canary_timeout_seconds": 0.5, "canary_cache_seconds": 0.0}


def test_a_dead_primary_is_answered_by_the_fallback(
    gateway: TestClient, primary: Any, fallback: Any, request_body: dict[str, Any]
) -> None:
    primary.error = BackendUnavailableError("stub is dead")
    response = gateway.post("/v1/suggestions", json=request_body)
    assert (response.status_code, response.json()["degraded"]) == (200, True)
    assert gateway.get("/readyz").json() | {"version": None} == {
        "status": "ready",
        "degraded": True,
        "version": None,
    }
    assert fallback.num_asked == 2
    metrics = gateway.get("/metrics").text
    assert "chartloop_degraded_total 1.0" in metrics


def test_the_breaker_spares_requests_and_closes_when_a_canary_is_answered(primary: Any, fallback: Any) -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher(primary, fallback=fallback, settings=GatewaySettings(**FAST | {"probe_seconds": 0.1}))
        primary.error, primary.delay_seconds = BackendUnavailableError("dead"), 0.2
        for _ in range(2):
            assert (await dispatcher.score(NOTES)).degraded
        assert dispatcher.is_open
        started = time.perf_counter()
        for _ in range(20):
            assert (await dispatcher.score(NOTES)).degraded
        assert time.perf_counter() - started < 0.15
        primary.error, primary.delay_seconds = None, 0.0
        async with asyncio.timeout(5):
            while dispatcher.is_open:
                await asyncio.sleep(0.01)
        assert not (await dispatcher.score(NOTES)).degraded
        await dispatcher.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [QueueFullError("full"), InvalidInputError("bad")])
def test_a_busy_or_choosy_primary_is_not_dead(primary: Any, fallback: Any, error: Exception) -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher(primary, fallback=fallback, settings=GatewaySettings(**FAST))
        primary.error = error
        for _ in range(5):
            with pytest.raises(type(error)):
                await dispatcher.score(NOTES)
        assert not dispatcher.is_open
        assert fallback.num_asked == 0

    asyncio.run(scenario())


def test_failures_apart_do_not_open(primary: Any, fallback: Any) -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher(primary, fallback=fallback, settings=GatewaySettings(**FAST))
        for error in [BackendUnavailableError("blip"), None] * 4:
            primary.error = error
            await dispatcher.score(NOTES)
        assert not dispatcher.is_open

    asyncio.run(scenario())


def test_the_fallback_gets_only_the_time_that_is_left(primary: Any) -> None:
    asked: list[float] = []

    class Slow:
        async def score(self, notes: Any, *, timeout_seconds: float, priority: Priority = Priority.INTERACTIVE) -> Any:
            asked.append(timeout_seconds)
            raise DeadlineExceededError("late")

    async def scenario() -> None:
        dispatcher = Dispatcher(primary, fallback=Slow(), settings=GatewaySettings(deadline_seconds=1.0))
        primary.error, primary.delay_seconds = BackendUnavailableError("dead"), 0.3
        with pytest.raises(DeadlineExceededError):
            await dispatcher.score(NOTES)

    asyncio.run(scenario())
    assert 0 < asked[0] <= 0.7


def test_a_request_that_fails_alone_is_answered_by_the_fallback_and_harms_nobody(primary: Any, fallback: Any) -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher(primary, fallback=fallback, settings=GatewaySettings(**FAST))
        primary.error = RequestFailedError("failed at these notes")
        for _ in range(5):
            assert (await dispatcher.score(NOTES)).degraded
        assert not dispatcher.is_open
        primary.error = None
        assert not (await dispatcher.score(NOTES)).degraded

    asyncio.run(scenario())


class Hung:
    """Keeps the deadline that it is given, and answers a canary or not."""

    def __init__(self, *, is_well: bool) -> None:
        self._is_well = is_well
        self.asked: list[float] = []

    async def score(self, notes: Any, *, timeout_seconds: float, priority: Priority = Priority.INTERACTIVE) -> Any:
        if notes != NOTES and self._is_well:
            return ScoredCodes(())
        self.asked.append(timeout_seconds)
        await asyncio.sleep(timeout_seconds)
        raise DeadlineExceededError("late")


@pytest.mark.parametrize("is_well", [True, False])
def test_a_late_primary_leaves_time_for_the_fallback(fallback: Any, is_well: bool) -> None:
    settings = FAST | {"deadline_seconds": 0.2, "primary_share_of_deadline": 0.5, "canary_timeout_seconds": 0.02}

    async def scenario() -> None:
        hung = Hung(is_well=is_well)
        dispatcher = Dispatcher(hung, fallback=fallback, settings=GatewaySettings(**settings))
        for _ in range(2):
            assert (await dispatcher.score(NOTES)).degraded
            await asyncio.sleep(0.1)
        assert hung.asked[0] == pytest.approx(0.1)
        # Only a canary that fails too tells a hung server from long notes.
        assert dispatcher.is_open is not is_well
        await dispatcher.close()

    asyncio.run(scenario())


def test_without_a_fallback_the_primary_has_the_whole_deadline() -> None:
    async def scenario() -> None:
        hung = Hung(is_well=True)
        dispatcher = Dispatcher(hung, fallback=None, settings=GatewaySettings(deadline_seconds=0.1))
        with pytest.raises(DeadlineExceededError):
            await dispatcher.score(NOTES)
        assert hung.asked == [0.1]
        await dispatcher.close()

    asyncio.run(scenario())


def test_an_unforeseen_exception_does_not_end_the_probe(primary: Any, fallback: Any) -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher(primary, fallback=fallback, settings=GatewaySettings(**FAST, failures_to_open=1))
        primary.error = BackendUnavailableError("dead")
        await dispatcher.score(NOTES)
        primary.error = IndexError("unforeseen")
        await asyncio.sleep(0.1)
        assert dispatcher.is_open
        primary.error = None
        async with asyncio.timeout(5):
            while dispatcher.is_open:
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_without_a_fallback_an_open_breaker_answers_at_once(primary: Any) -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher(primary, fallback=None, settings=GatewaySettings(failures_to_open=1))
        primary.error = BackendUnavailableError("dead")
        with pytest.raises(BackendUnavailableError, match="dead"):
            await dispatcher.score(NOTES)
        num_asked = primary.num_asked
        with pytest.raises(BackendUnavailableError, match="no fallback"):
            await dispatcher.score(NOTES)
        assert primary.num_asked == num_asked
        await dispatcher.close()

    asyncio.run(scenario())


def test_readiness_asks_one_canary_for_many_who_ask(primary: Any, fallback: Any) -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher(primary, fallback=fallback, settings=GatewaySettings(canary_cache_seconds=5))
        primary.delay_seconds = 0.02
        healths = await asyncio.gather(*(dispatcher.check() for _ in range(10)))
        assert {health.primary for health in healths} == {True}
        assert (primary.num_asked, fallback.num_asked) == (1, 0)

    asyncio.run(scenario())


def test_a_real_answer_stands_for_a_canary(primary: Any, fallback: Any) -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher(primary, fallback=fallback, settings=GatewaySettings(canary_cache_seconds=5))
        await dispatcher.score(NOTES)
        assert (await dispatcher.check()).is_ready
        assert primary.num_asked == 1

    asyncio.run(scenario())


def test_neither_answers(open_gateway: Callable[..., TestClient], primary: Any) -> None:
    primary.error = BackendUnavailableError("dead")
    response = open_gateway(with_fallback=False).get("/readyz")
    assert (response.status_code, response.json()["status"]) == (503, "not-ready")
