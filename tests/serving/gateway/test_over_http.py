"""The typed client and its commands against a gateway on a real socket: streams, retries, jobs."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.testclient import TestClient
from typer.testing import CliRunner

from clinical_coding.suggestions import SuggestionRequest
from scripts.chartloop import app as chartloop
from serving.backends import InvalidInputError, QueueFullError
from serving.client import AnsweredLine, Client, Patience, RequestRefusedError
from serving.client.chunks import cut


@pytest.fixture
def url(gateway: TestClient) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(gateway.app, log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(url: str, key: str) -> Iterator[Client]:
    with Client(url, key) as client:
        yield client


@pytest.fixture
def requests(request_body: dict[str, Any]) -> list[SuggestionRequest]:
    """Of some hundred thousand bytes together: several chunks, one of a single long note."""
    text = request_body["notes"][0]["text"]
    lengths = [2_000] * 40 + [70_000] + [500] * 40
    bodies = [
        request_body | {"record_id": f"r{number}", "notes": [{"note_id": "n1", "text": text + " x" * (length // 2)}]}
        for number, length in enumerate(lengths, start=1)
    ]
    return [SuggestionRequest.model_validate(body) for body in bodies]


def test_requests_are_cut_into_bodies_that_fit_the_buffers(requests: list[SuggestionRequest]) -> None:
    chunks = list(cut(iter(requests)))
    assert b"".join(chunk.content for chunk in chunks).decode().splitlines() == [
        request.model_dump_json(exclude_none=True) for request in requests
    ]
    assert sum(chunk.num_requests for chunk in chunks) == 81
    assert [chunk.num_before for chunk in chunks][1:] == [
        sum(chunk.num_requests for chunk in chunks[:end]) for end in range(1, len(chunks))
    ]
    assert all(len(chunk.content) <= 60_000 or chunk.num_requests == 1 for chunk in chunks)


def test_many_are_answered_in_order(client: Client, requests: list[SuggestionRequest], primary: Any) -> None:
    answered = list(client.suggest_many(iter(requests), idempotency_key="night"))
    assert [(one.line, one.record_id) for one in answered] == [(n, f"r{n}") for n in range(1, 82)]
    assert all(one.suggestion is not None and one.error is None for one in answered)
    # Sent again under the same key they come from the store, none made anew.
    assert list(client.suggest_many(iter(requests), idempotency_key="night")) == answered
    assert primary.num_asked == 81


def test_one_that_is_refused_stops_no_other(client: Client, requests: list[SuggestionRequest], primary: Any) -> None:
    primary.next_errors.extend([None, InvalidInputError("no")])
    answered = list(client.suggest_many(requests[:3]))
    assert [one.line for one in answered] == [1, 2, 3]
    # Lines are worked on at once, so that any may be the one.
    [error] = [one.error for one in answered if one.error is not None]
    assert error.status == 422
    assert sum(one.suggestion is not None for one in answered) == 2


def test_a_busy_gateway_is_asked_again_under_the_same_key(
    url: str, key: str, requests: list[SuggestionRequest], primary: Any
) -> None:
    primary.next_errors.append(QueueFullError("full", retry_after_seconds=1))
    with Client(url, key) as client:
        began_at = time.monotonic()
        assert client.suggest(requests[0], timeout_seconds=5).codes[0].code == "I10"
        assert time.monotonic() - began_at >= 1
    primary.next_errors.append(QueueFullError("full", retry_after_seconds=1))
    with Client(url, key, patience=Patience(max_retries=0)) as client, pytest.raises(RequestRefusedError) as caught:
        client.suggest(requests[0])
    assert (caught.value.status, caught.value.retry_after_seconds) == (429, 1.0)
    assert primary.num_asked == 3


def test_a_job_is_submitted_watched_and_fetched(client: Client, requests: list[SuggestionRequest]) -> None:
    job = client.submit_job(requests[:3], idempotency_key="k")
    assert client.submit_job(requests[:3], idempotency_key="k").job_id == job.job_id
    fetched: list[AnsweredLine] = []
    give_up_at = time.monotonic() + 10
    while len(fetched) < 3:
        assert time.monotonic() < give_up_at
        fetched += client.job_results(job.job_id, after=fetched[-1].line if fetched else 0)
    assert [one.record_id for one in fetched] == ["r1", "r2", "r3"]
    assert client.job(job.job_id).state == "done"
    assert client.cancel_job(job.job_id).num_cancelled == 0


def test_a_stream_is_answered_while_it_is_sent(url: str, key: str, requests: list[SuggestionRequest]) -> None:
    first_answer = threading.Event()

    def lines() -> Iterator[bytes]:
        yield requests[0].model_dump_json(exclude_none=True).encode() + b"\n"
        # Read by hand below; httpx itself reads only when all is sent.
        first_answer.wait(5)
        yield requests[1].model_dump_json(exclude_none=True).encode() + b"\n"

    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        head = (
            f"POST /v1/suggestions/bulk HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(head.encode())
        for number, line in enumerate(lines(), start=1):
            connection.sendall(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            received = b""
            while f'"line":{number}'.encode() not in received:
                received += connection.recv(65_536)
            first_answer.set()
        connection.sendall(b"0\r\n\r\n")
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(65_536)
    assert b'"complete": true' in received


def test_a_stream_whose_client_is_gone_ends(
    url: str, key: str, requests: list[SuggestionRequest], primary: Any
) -> None:
    primary.delay_seconds = 30.0
    content = b"".join(one.model_dump_json(exclude_none=True).encode() + b"\n" for one in requests[:3])
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
    path = f"{url}/v1/suggestions/bulk"
    with httpx.Client(trust_env=False) as http, http.stream("POST", path, content=content, headers=headers) as answer:
        assert answer.status_code == 200
        while primary.num_asked < 3:
            time.sleep(0.01)
    give_up_at = time.monotonic() + 5
    while primary.num_cancelled < 3:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def answers(written: str) -> list[dict[str, Any]]:
    # The gateway runs in this process, and logs to the same output.
    return [json.loads(line) for line in written.splitlines() if line.startswith("{")]


def test_the_commands_answer_files(
    url: str, key: str, requests: list[SuggestionRequest], primary: Any, tmp_path: Path
) -> None:
    file = tmp_path / "night.jsonl"
    lines = [request.model_dump(mode="json", exclude_none=True) | {"codes": []} for request in requests[:2]]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    where = ["--url", url, "--key", key]
    run = CliRunner().invoke
    primary.next_errors.extend([None, InvalidInputError("no")])
    bulk = run(chartloop, ["suggest", str(file), "--bulk", *where])
    assert bulk.exit_code == 1
    told = answers(bulk.stdout)
    assert [line["record_id"] for line in told] == ["r1", "r2"]
    assert [line["problem"]["status"] for line in told if "problem" in line] == [422]
    assert "1 answered, 1 refused" in bulk.stderr
    submitted = re.search(
        r"Job (\S+): running; 2 waiting", run(chartloop, ["jobs", "submit", str(file), *where]).stdout
    )
    assert submitted is not None
    give_up_at = time.monotonic() + 10
    while "done; 2 answered" not in run(chartloop, ["jobs", "status", submitted[1], *where]).stdout:
        assert time.monotonic() < give_up_at
    fetched = run(chartloop, ["jobs", "fetch", submitted[1], "--after", "1", *where]).stdout
    assert [line["record_id"] for line in answers(fetched)] == ["r2"]
    assert "done; 2 answered" in run(chartloop, ["jobs", "cancel", submitted[1], *where]).stdout
