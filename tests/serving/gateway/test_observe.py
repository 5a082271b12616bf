import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import structlog
from starlette.testclient import TestClient

from serving.gateway.exchange import open_exchange
from serving.gateway.intake import IntakeMiddleware
from serving.gateway.metrics import Metrics
from serving.gateway.observe import ObserveMiddleware
from serving.logs import configure_logs

URL = "/v1/suggestions"
CANARY = "Zebedee-Quartermain-19310412"


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged as ``serve`` logs it; logging is put back afterwards."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs()
    yield stream
    root.handlers, root.level = before[0], before[1]
    logging.getLogger("serving").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_line_a_request_of_ids_counts_and_latencies(
    gateway: TestClient, request_body: dict[str, Any], logged: io.StringIO
) -> None:
    request_body["notes"][0]["text"] += CANARY
    request_body["patient_id"] = request_body["encounter"]["provider_id"] = CANARY
    answer = gateway.post(URL, json=request_body).json()
    [line] = [line for line in lines(logged) if line["event"] == "request"]
    assert line["trace_id"] == answer["trace_id"]
    assert line["suggestion_id"] == answer["suggestion_id"]
    assert (line["route"], line["status"], line["num_notes"], line["num_codes"]) == (URL, 200, 1, 1)
    assert line["num_characters"] == len(request_body["notes"][0]["text"])
    assert 0 < line["seconds"] < 10
    assert "hypertension" not in logged.getvalue()
    assert CANARY not in logged.getvalue()
    assert CANARY not in gateway.get("/metrics").text


def test_no_failure_brings_text_into_logs_or_metrics(
    gateway: TestClient, primary: Any, request_body: dict[str, Any], logged: io.StringIO
) -> None:
    request_body["notes"][0]["text"] = CANARY
    gateway.get(f"/{CANARY}?q={CANARY}")
    gateway.request(CANARY, "/healthz")
    gateway.post(URL, json=request_body | {CANARY: CANARY})
    gateway.post(URL, content=CANARY, headers={"Content-Type": "application/json"})
    gateway.post(URL, json=request_body, headers={"Authorization": f"Bearer {CANARY}"})
    primary.error = RuntimeError(CANARY)
    gateway.post(URL, json=request_body)
    logging.getLogger("some.library").warning("failed", exc_info=RuntimeError(CANARY))
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("some.library").exception("failed")
        structlog.get_logger().exception("failed")
    assert CANARY not in logged.getvalue()
    assert CANARY not in gateway.get("/metrics").text
    failures = [line for line in lines(logged) if line["event"] == "request-failed"]
    assert [line["error"] for line in failures] == ["RuntimeError"]
    assert failures[0]["where"]
    assert [line["error"] for line in lines(logged) if line["event"] == "failed"] == [
        "RuntimeError",
        "ValueError",
        "ValueError",
    ]


def test_a_cancelled_request_leaves_its_line(logged: io.StringIO) -> None:
    async def app(*_: Any) -> None:
        raise asyncio.CancelledError

    scope = {"type": "http", "method": "POST", "path": URL, "headers": []}
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(ObserveMiddleware(app, metrics=Metrics())(scope, app, app))
    [line] = lines(logged)
    assert (line["event"], line["status"]) == ("request", 0)


def test_metrics_count_by_route_and_status(gateway: TestClient, request_body: dict[str, Any]) -> None:
    gateway.post(URL, json=request_body)
    gateway.post(URL, json={})
    gateway.get("/nowhere")
    text = gateway.get("/metrics").text
    for expected in (
        'chartloop_requests_total{route="/v1/suggestions",status="200"} 1.0',
        'chartloop_requests_total{route="/v1/suggestions",status="422"} 1.0',
        'chartloop_requests_total{route="none",status="404"} 1.0',
        'chartloop_request_seconds_count{route="/v1/suggestions"} 2.0',
        'chartloop_suggestions_total{decision="assisted"} 1.0',
        "chartloop_requests_in_flight 1.0",
        "chartloop_primary_passed_over 0.0",
        "chartloop_triton_restarts 4.0",
    ):
        assert expected in text


def test_a_client_that_sends_too_slowly_is_let_go() -> None:
    sent: list[Any] = []

    async def scenario() -> None:
        async def app(*_: Any) -> None:
            raise AssertionError("the application must not be asked")

        async def receive() -> Any:
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b" ", "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": URL, "headers": []}
        open_exchange(scope)
        intake = IntakeMiddleware(app, max_bytes=1000, timeout_seconds=0.2, rules={}, check_shape=lambda _: None)
        await intake(scope, receive, send)

    asyncio.run(scenario())
    assert sent[0]["status"] == 408


def test_work_is_dropped_when_its_client_leaves(
    open_gateway: Callable[..., TestClient], primary: Any, key: str, request_body: dict[str, Any]
) -> None:
    app = open_gateway().app
    primary.delay_seconds = 30
    sent: list[Any] = []

    async def scenario() -> None:
        messages = [{"type": "http.request", "body": json.dumps(request_body).encode(), "more_body": False}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await asyncio.sleep(0.1)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": URL,
            "headers": headers,
            "query_string": b"",
            "scheme": "http",
        }
        async with asyncio.timeout(10):
            await app(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(scenario())
    assert (sent[0]["status"], primary.num_asked, primary.num_cancelled) == (499, 1, 1)


def test_requests_are_answered_side_by_side(
    open_gateway: Callable[..., TestClient], primary: Any, key: str, request_body: dict[str, Any]
) -> None:
    primary.delay_seconds = 0.2
    transport = httpx.ASGITransport(app=open_gateway().app)  # type: ignore[arg-type]

    async def scenario() -> list[int]:
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            headers = {"Authorization": f"Bearer {key}"}
            calls = [client.post(URL, json=request_body, headers=headers) for _ in range(20)]
            async with asyncio.timeout(2):
                return [response.status_code for response in await asyncio.gather(*calls)]

    assert asyncio.run(scenario()) == [200] * 20
