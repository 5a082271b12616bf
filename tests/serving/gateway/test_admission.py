import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.backends import Priority
from serving.gateway.admission import Admission
from serving.gateway.problems import ProblemError
from serving.gateway.settings import AdmissionSettings
from serving.gateway.throughput import Throughput

URL = "/v1/suggestions"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def measure(*, initial_per_second: float = 100.0) -> tuple[Throughput, Clock]:
    clock = Clock()
    return Throughput(initial_per_second=initial_per_second, half_life_seconds=2.0, clock=clock), clock


def test_the_rate_comes_to_what_is_done_while_there_is_work() -> None:
    rate, clock = measure()
    assert rate.per_second() == 100.0
    for _ in range(20):
        rate.begin()
        clock.now += 1.0
        rate.end(500, is_idle=True)
        # Idle time says nothing of the rate.
        clock.now += 1000.0
    assert rate.per_second() == pytest.approx(500.0, rel=0.01)


def test_work_that_does_not_end_slows_the_rate_at_once_and_a_recovery_is_seen() -> None:
    rate, clock = measure()
    rate.begin()
    clock.now += 6.0
    # By hand: 200 characters over 2 s of assumption and 6 s of waiting.
    assert rate.per_second() == pytest.approx(25.0)
    rate.end(0, is_idle=False)
    for _ in range(12):
        clock.now += 1.0
        rate.end(100, is_idle=False)
    assert rate.per_second() == pytest.approx(100.0, rel=0.05)


def fill(admission: Admission, place: ExitStack, num: int, priority: Priority = Priority.INTERACTIVE) -> None:
    for _ in range(num):
        place.enter_context(admission.admit(700, give_up_at=time.monotonic() + 10, priority=priority))


# A thousand characters a second, and 1,000 a request: each waits a second for each before it.
SLOW = AdmissionSettings(
    initial_characters_per_second=1000, rate_half_life_seconds=1e6, max_wait_seconds=4.5, bulk_wait_seconds=2.5
)


def test_what_would_wait_too_long_is_told_when_to_come_back() -> None:
    admission = Admission(SLOW)
    with ExitStack() as place:
        fill(admission, place, 5)
        with pytest.raises(ProblemError) as caught:
            fill(admission, place, 1)
        assert (caught.value.kind, caught.value.headers) == ("queue-full", {"Retry-After": "1"})
        assert admission.num_refused == 1
        assert admission.wait_seconds == pytest.approx(5.0, rel=0.01)
    assert admission.num_under_way == 0
    fill(admission, ExitStack(), 1)


def test_a_short_deadline_is_refused_sooner() -> None:
    admission = Admission(SLOW)
    with ExitStack() as place:
        fill(admission, place, 1)
        # Two seconds to the answer, for which 0.7 of the deadline may be taken.
        with (
            pytest.raises(ProblemError),
            admission.admit(700, give_up_at=time.monotonic() + 2.5, priority=Priority.INTERACTIVE),
        ):
            pass
        place.enter_context(admission.admit(700, give_up_at=time.monotonic() + 4, priority=Priority.INTERACTIVE))


def test_the_first_is_let_in_however_dark_the_estimate() -> None:
    admission = Admission(SLOW)
    with admission.admit(10**9, give_up_at=time.monotonic() + 0.1, priority=Priority.INTERACTIVE) as ticket:
        admission.resize(ticket, 700)
        assert admission.wait_seconds == pytest.approx(1.0, rel=0.01)


def test_bulk_takes_its_share_and_interactive_goes_ahead_of_it() -> None:
    # However long bulk may wait, so that its share of the requests alone refuses the fourth.
    admission = Admission(SLOW.model_copy(update={"max_requests": 6, "bulk_wait_seconds": 60}))
    with ExitStack() as place:
        fill(admission, place, 3, Priority.BULK)
        with pytest.raises(ProblemError):
            fill(admission, place, 1, Priority.BULK)
        # Three seconds of bulk work are no wait for them.
        fill(admission, place, 3)
        with pytest.raises(ProblemError):
            fill(admission, place, 1)
    assert admission.num_refused == 1


def test_bulk_joins_no_more_work_than_an_interactive_request_may_wait_for() -> None:
    admission = Admission(SLOW.model_copy(update={"bulk_wait_seconds": 1.5}))
    with ExitStack() as place:
        fill(admission, place, 2, Priority.BULK)
        with pytest.raises(ProblemError):
            fill(admission, place, 1, Priority.BULK)


def test_bulk_waits_for_room_and_gets_it() -> None:
    async def scenario() -> None:
        admission = Admission(SLOW)
        with ExitStack() as place:
            fill(admission, place, 3)
            waiting = asyncio.create_task(admission.wait_for_room())
            await asyncio.sleep(0.2)
            assert not waiting.done()
        await asyncio.wait_for(waiting, timeout=1)

    asyncio.run(scenario())


class OneServer:
    """Takes 10 ms a request, one after the other, and knows how long it worked."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self.busy_seconds = 0.0

    async def serve(self) -> None:
        async with self._lock:
            began_at = time.monotonic()
            await asyncio.sleep(0.01)
            self.busy_seconds += time.monotonic() - began_at


# The truth is at most 200,000.
@pytest.mark.parametrize("initial_characters_per_second", [5_000.0, 200_000.0])
def test_three_times_overload_idles_no_server_and_nobody_is_late(initial_characters_per_second: float) -> None:
    settings = AdmissionSettings(
        initial_characters_per_second=initial_characters_per_second, max_wait_seconds=0.3, rate_half_life_seconds=0.3
    )
    late: list[float] = []

    async def ask(admission: Admission, server: OneServer) -> None:
        give_up_at = time.monotonic() + 1.0
        try:
            with admission.admit(1700, give_up_at=give_up_at, priority=Priority.INTERACTIVE) as ticket:
                await server.serve()
                ticket.is_done = True
        except ProblemError:
            return
        late.extend([time.monotonic() - give_up_at] if time.monotonic() > give_up_at else [])

    async def scenario() -> None:
        admission, server = Admission(settings), OneServer()
        began_at = time.monotonic()
        asked: list[asyncio.Task[None]] = []
        while (now := time.monotonic()) < began_at + 2:
            while len(asked) < 300 * (now - began_at):
                asked.append(asyncio.create_task(ask(admission, server)))
            await asyncio.sleep(0.002)
        assert server.busy_seconds > 0.9 * 2
        await asyncio.gather(*asked)
        assert admission.num_refused > len(asked) / 2

    asyncio.run(scenario())
    assert late == []


def test_the_door_refuses_before_the_body_is_read(
    open_gateway: Callable[..., TestClient], key: str, request_body: dict[str, Any], primary: Any
) -> None:
    limits = SLOW.model_copy(update={"max_requests": 1})
    gateway = open_gateway(admission=limits)
    gateway.headers["Authorization"] = f"Bearer {key}"
    primary.delay_seconds = 1.0
    seconds: list[float] = []

    def refused() -> int:
        began_at = time.perf_counter()
        # No JSON at all, which nobody gets to see.
        response = gateway.post(URL, content=b"{" * 1000, headers={"Content-Type": "application/json"})
        seconds.append(time.perf_counter() - began_at)
        assert int(response.headers["retry-after"]) >= 1
        return response.status_code

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(gateway.post, URL, json=request_body)
        while primary.num_asked == 0:
            time.sleep(0.01)
        assert [refused() for _ in range(3)] == [429] * 3
        assert first.result().status_code == 200
    assert max(seconds) < 0.5
    primary.delay_seconds = 0.0
    assert gateway.post(URL, json=request_body).status_code == 200


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "soon", "9" * 10])
def test_a_timeout_that_is_none_is_told(gateway: TestClient, request_body: dict[str, Any], value: str) -> None:
    response = gateway.post(URL, json=request_body, headers={"X-Request-Timeout-Ms": value})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "X-Request-Timeout-Ms"


def test_nothing_is_answered_after_the_senders_deadline(
    gateway: TestClient, request_body: dict[str, Any], primary: Any, fallback: Any
) -> None:
    primary.delay_seconds = fallback.delay_seconds = 0.3
    late = gateway.post(URL, json=request_body, headers={"X-Request-Timeout-Ms": "200"})
    assert late.status_code == 504
    assert late.json()["type"] == "urn:chartloop:problem:deadline"
    assert gateway.post(URL, json=request_body, headers={"X-Request-Timeout-Ms": "5000"}).status_code == 200


def test_a_deadline_that_is_longer_than_ours_is_ours(
    open_gateway: Callable[..., TestClient], key: str, request_body: dict[str, Any], primary: Any, fallback: Any
) -> None:
    gateway = open_gateway(deadline_seconds=0.2)
    primary.delay_seconds = fallback.delay_seconds = 0.4
    headers = {"Authorization": f"Bearer {key}", "X-Request-Timeout-Ms": "60000"}
    assert gateway.post(URL, json=request_body, headers=headers).status_code == 504
