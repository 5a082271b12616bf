"""A half-sent head against a real server."""

import asyncio
from typing import Any

import pytest
import uvicorn

from serving.listening import Listening


async def answer(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.6)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("parts", [[b""], [WHOLE[:20]], [WHOLE, WHOLE[:20]], [WHOLE, WHOLE, WHOLE[:20]]])
def test_a_head_that_does_not_come_whole_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, parts: list[bytes]
) -> None:
    monkeypatch.setattr("serving.timed_protocol._HEAD_SECONDS", 0.3)

    async def scenario(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(3):
            for part in parts:
                writer.write(part)
                if part == WHOLE:
                    assert b"204" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.read() == b""
        writer.close()

    run(scenario)


def test_whoever_waits_for_a_slow_answer_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.timed_protocol._HEAD_SECONDS", 0.3)

    async def scenario(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"204" in await reader.read()
        writer.close()

    run(scenario)


def run(scenario: Any) -> None:
    async def main() -> None:
        server = uvicorn.Server(Listening().configure(answer, host="127.0.0.1", port=0, lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            await scenario(port)
        finally:
            server.should_exit = True
            await serving

    asyncio.run(main())
