"""Streams of requests: every line is answered in its own right, at the sender's speed and the model's."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from ledger.suggestions import suggestions
from serving.backends import BackendUnavailableError, InvalidInputError, Priority, QueueFullError
from serving.gateway import line_answering
from serving.gateway.ndjson import Line, read_lines
from serving.gateway.settings import BulkSettings

URL = "/v1/suggestions/bulk"
NDJSON = {"Content-Type": "application/x-ndjson"}
Answers = tuple[dict[int, dict[str, Any]], list[dict[str, Any]]]


def send(gateway: TestClient, *bodies: Any, **headers: str) -> Answers:
    """Send lines; give the answers by line, and what else was told."""
    content = "".join(f"{body if isinstance(body, str) else json.dumps(body)}\n" for body in bodies)
    response = gateway.post(URL, content=content, headers=NDJSON | headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == NDJSON["Content-Type"]
    told = [json.loads(line) for line in response.text.splitlines()]
    return {line["line"]: line for line in told if "line" in line}, [line for line in told if "line" not in line]


def cut(*pieces: bytes, max_bytes: int = 10) -> list[Line]:
    async def collect() -> list[Line]:
        async def come() -> Any:
            for piece in pieces:
                yield piece

        return [line async for line in read_lines(come(), max_bytes=max_bytes)]

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ((b"a\nb",), [Line(1, b"a"), Line(2, b"b")]),
        ((b"a", b"b\r\n", b"\n", b"c\n"), [Line(1, b"ab"), Line(3, b"c")]),
        ((b"x" * 11 + b"\nok\n",), [Line(1, None), Line(2, b"ok")]),
        ((b"x" * 8, b"x" * 8, b"x" * 8, b"\nok"), [Line(1, None), Line(2, b"ok")]),
        ((b"x" * 30,), [Line(1, None)]),
        ((b"",), []),
    ],
)
def test_lines_are_cut_wherever_the_pieces_end(pieces: tuple[bytes, ...], lines: list[Line]) -> None:
    assert cut(*pieces) == lines


def test_each_line_is_answered_and_stored(
    gateway: TestClient, request_body: dict[str, Any], engine: Engine, primary: Any
) -> None:
    answers, told = send(gateway, *(request_body | {"record_id": f"r{number}"} for number in range(1, 6)))
    assert {number: line["record_id"] for number, line in answers.items()} == {n: f"r{n}" for n in range(1, 6)}
    for line in answers.values():
        [code] = line["suggestion"]["codes"]
        assert code["code"] == "I10"
        assert gateway.get(f"/v1/suggestions/{line['suggestion']['suggestion_id']}").json() == line["suggestion"]
    assert told == [{"progress": {"read": 5, "answered": 5, "failed": 0}, "complete": True}]
    assert set(primary.priorities) == {Priority.BULK}


def test_what_is_wrong_with_a_line_is_told_in_its_place(
    open_gateway: Callable[..., TestClient], key: str, request_body: dict[str, Any]
) -> None:
    gateway = open_gateway(bulk=BulkSettings(max_line_bytes=2000), max_note_characters=500)
    long, too_long = ([{"note_id": "n1", "text": "pain " * times}] for times in (120, 500))
    bodies = ["{", "", request_body | {"notes": []}, request_body | {"notes": long}, request_body]
    answers, told = send(gateway, *bodies, request_body | {"notes": too_long}, Authorization=f"Bearer {key}")
    kinds = {
        number: line["problem"]["type"].rpartition(":")[2] for number, line in answers.items() if "problem" in line
    }
    assert kinds == {1: "malformed-body", 3: "invalid-request", 4: "too-large", 6: "too-large"}
    assert "pain" not in json.dumps({number: answers[number] for number in kinds})
    assert (answers[4]["record_id"], "suggestion" in answers[5]) == ("r1", True)
    assert told[-1] == {"progress": {"read": 5, "answered": 1, "failed": 4}, "complete": True}


def test_withheld_codes_are_withheld_here_too(gateway: TestClient, request_body: dict[str, Any], primary: Any) -> None:
    primary.codes = tuple(code.model_copy(update={"confidence": 0.05}) for code in primary.codes)
    answers, _ = send(gateway, request_body)
    assert (answers[1]["suggestion"]["route"]["decision"], answers[1]["suggestion"]["codes"]) == ("manual", [])


def test_a_busy_or_restarting_model_is_waited_for_and_a_refusal_is_final(
    open_gateway: Callable[..., TestClient],
    key: str,
    request_body: dict[str, Any],
    primary: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(line_answering, "_RETRY_SECONDS", 0.01)
    gateway = open_gateway(with_fallback=False, failures_to_open=99)
    primary.next_errors.extend([QueueFullError("full"), BackendUnavailableError("gone"), None, InvalidInputError("no")])
    answers, _ = send(gateway, request_body, Authorization=f"Bearer {key}")
    assert "suggestion" in answers[1]
    answers, _ = send(gateway, request_body, Authorization=f"Bearer {key}")
    assert answers[1]["problem"]["status"] == 422
    primary.error = BackendUnavailableError("gone")
    answers, _ = send(gateway, request_body, Authorization=f"Bearer {key}")
    assert answers[1]["problem"]["status"] == 503


def test_a_stream_under_a_key_is_answered_from_the_store_when_sent_again(
    gateway: TestClient, request_body: dict[str, Any], engine: Engine, primary: Any
) -> None:
    bodies = [request_body | {"record_id": f"r{number}"} for number in range(3)]
    key = {"Idempotency-Key": "night-1"}
    first, _ = send(gateway, *bodies[:2], **key)
    again, told = send(gateway, *bodies, **key)
    assert {number: again[number] for number in first} == first
    assert told[-1]["progress"] == {"read": 3, "answered": 3, "failed": 0}
    changed, _ = send(gateway, request_body | {"record_id": "other"}, **key)
    assert changed[1]["problem"]["type"] == "urn:chartloop:problem:key-reused"
    assert primary.num_asked == 3


def test_only_lines_come_in(gateway: TestClient, request_body: dict[str, Any]) -> None:
    assert gateway.post(URL, json=request_body).status_code == 415
    response = gateway.post(URL, content="{}\n", headers=NDJSON | {"Idempotency-Key": "k" * 97})
    assert response.status_code == 422


class Stream:
    """A bulk request as its server sees it, message by message."""

    def __init__(self, app: Any, key: str) -> None:
        self.app = app
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.num_received = 0
        headers = {"authorization": f"Bearer {key}", "content-type": "application/x-ndjson"}
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": URL,
            "raw_path": URL.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("test", 1),
            "server": ("test", 80),
        }

    async def run(self) -> None:
        async def receive() -> dict[str, Any]:
            message = await self.incoming.get()
            self.num_received += 1
            return message

        async def send(message: dict[str, Any]) -> None:
            self.sent.append(message)

        await self.app(self.scope, receive, send)

    def put(self, body: Any, *, more: bool = True) -> None:
        content = b"" if body is None else json.dumps(body).encode() + b"\n"
        self.incoming.put_nowait({"type": "http.request", "body": content, "more_body": more})

    def lines(self) -> Iterator[dict[str, Any]]:
        for message in self.sent:
            if message["type"] == "http.response.body" and message["body"]:
                yield json.loads(message["body"])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def test_no_more_is_read_than_is_worked_on_and_progress_is_told_meanwhile(
    open_gateway: Callable[..., TestClient], key: str, request_body: dict[str, Any], primary: Any
) -> None:
    app = open_gateway(bulk=BulkSettings(max_under_way=2, progress_seconds=0.05)).app

    async def scenario() -> None:
        primary.delay_seconds = 0.4
        stream = Stream(app, key)
        for _ in range(6):
            stream.put(request_body)
        running = asyncio.create_task(stream.run())
        await until(lambda: primary.num_asked == 2)
        await asyncio.sleep(0.1)
        # A piece may be read ahead, no more.
        assert stream.num_received <= 3
        assert {"progress": {"read": 2, "answered": 0, "failed": 0}} in stream.lines()
        primary.delay_seconds = 0.0
        stream.put(None, more=False)
        await asyncio.wait_for(running, 5)
        assert list(stream.lines())[-1] == {"progress": {"read": 6, "answered": 6, "failed": 0}, "complete": True}

    asyncio.run(scenario())


@pytest.mark.parametrize("is_body_whole", [True, False])
def test_a_client_that_leaves_stops_the_work(
    open_gateway: Callable[..., TestClient],
    key: str,
    request_body: dict[str, Any],
    primary: Any,
    engine: Engine,
    is_body_whole: bool,
) -> None:
    app = open_gateway().app

    async def scenario() -> None:
        primary.delay_seconds = 30
        stream = Stream(app, key)
        stream.put(request_body, more=not is_body_whole)
        running = asyncio.create_task(stream.run())
        await until(lambda: primary.num_asked == 1)
        stream.incoming.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(running, 5)
        assert primary.num_cancelled == 1

    asyncio.run(scenario())
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(suggestions)).scalar_one() == 0


def test_a_client_that_sends_nothing_is_told_and_let_go(
    open_gateway: Callable[..., TestClient], key: str, request_body: dict[str, Any]
) -> None:
    app = open_gateway(bulk=BulkSettings(idle_seconds=0.2)).app

    async def scenario() -> list[dict[str, Any]]:
        stream = Stream(app, key)
        await asyncio.wait_for(stream.run(), 5)
        return list(stream.lines())

    problem, progress = asyncio.run(scenario())
    assert problem["problem"]["type"] == "urn:chartloop:problem:slow-body"
    assert progress["complete"] is False


def test_streams_are_counted(
    open_gateway: Callable[..., TestClient], key: str, request_body: dict[str, Any], primary: Any
) -> None:
    app = open_gateway(bulk=BulkSettings(max_streams=1)).app

    async def scenario() -> None:
        first = Stream(app, key)
        running = asyncio.create_task(first.run())
        await until(lambda: bool(first.sent))
        second, third = Stream(app, key), Stream(app, key)
        await second.run()
        assert second.sent[0]["status"] == 429
        first.put(request_body, more=False)
        await asyncio.wait_for(running, 5)
        third.put(request_body, more=False)
        await third.run()
        assert third.sent[0]["status"] == 200

    asyncio.run(scenario())
