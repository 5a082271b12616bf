import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from starlette.testclient import TestClient

from serving.gateway.database_health import DatabaseHealth
from serving.gateway.exchange import open_exchange
from serving.gateway.time_limit import TimeLimitMiddleware


def test_a_database_that_answers_is_well_and_one_that_refuses_is_not(engine: Engine, tmp_path: Path) -> None:
    assert asyncio.run(DatabaseHealth(engine, cache_seconds=0).check())
    nowhere = create_engine(f"sqlite:///{tmp_path}/none/chartloop.db")
    assert not asyncio.run(DatabaseHealth(nowhere, cache_seconds=0).check())


def test_one_that_is_silent_is_asked_once_and_is_not_well_until_it_answers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.gateway.database_health._TIMEOUT_SECONDS", 0.05)
    asked, may_answer = [], threading.Event()

    def silent(self: DatabaseHealth) -> bool:
        asked.append(1)
        return may_answer.wait(10)

    monkeypatch.setattr(DatabaseHealth, "_ask", silent)

    async def scenario() -> None:
        health = DatabaseHealth(engine, cache_seconds=0.2)
        assert [await health.check() for _ in range(3)] == [False] * 3
        assert len(asked) == 1
        may_answer.set()
        async with asyncio.timeout(5):
            while not await health.check():
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_a_gateway_without_its_database_is_not_ready(gateway: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gateway.get("/readyz").status_code == 200
    monkeypatch.setattr(DatabaseHealth, "_ask", lambda self: False)
    monkeypatch.setattr(DatabaseHealth, "check", lambda self: asyncio.sleep(0, False))
    answer = gateway.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not-ready")
    assert gateway.get("/livez").status_code == gateway.get("/startupz").status_code == 200


def ask(app: Any, path: str) -> tuple[int | None, dict[str, Any]]:
    """Send one request straight to an application; gives the status, if any, and the headers."""
    scope: dict[str, Any] = {"type": "http", "path": path, "method": "GET", "headers": []}
    open_exchange(scope)
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    asyncio.run(app(scope, receive, send))
    starts = [one for one in told if one["type"] == "http.response.start"]
    assert len(starts) <= 1
    return (starts[0]["status"], dict(starts[0]["headers"])) if starts else (None, {})


@pytest.mark.parametrize(("path", "status"), [("/v1/decisions", 503), ("/v1/suggestions/bulk", 204)])
def test_what_never_answers_is_answered_for(path: str, status: int) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.3)
        await send({"type": "http.response.start", "status": 204, "headers": []})

    app = TimeLimitMiddleware(slow, limit_seconds=0.05, streams={"/v1/suggestions/bulk"}, retry_after_seconds=1.0)
    told, headers = ask(app, path)
    assert told == status
    assert (headers.get(b"retry-after") == b"1") is (status == 503)


def test_an_answer_that_has_begun_is_not_cut_off() -> None:
    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.15)
        await send({"type": "http.response.body", "body": b"end"})

    app = TimeLimitMiddleware(streaming, limit_seconds=0.05, streams=(), retry_after_seconds=1.0)
    assert ask(app, "/v1/cases")[0] == 200
