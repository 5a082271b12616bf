import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from serving.client import (
    Client,
    ConnectionBrokenError,
    GatewayUnreachableError,
    Patience,
    RequestRefusedError,
    connection,
)

REQUEST = SuggestionRequest.model_validate(
    {
        "record_id": "r1",
        "encounter": {"setting": "outpatient", "specialty": "cardiology"},
        "notes": [{"note_id": "n1", "text": "A note."}],
    }
)


class Stranger(BaseHTTPRequestHandler):
    """What may stand before a gateway: answers errors that are none of ours, or nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(502)
        self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(b"<html>[]</html>")

    def do_GET(self) -> None:
        threading.Event().wait(0.5)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_answer_that_is_not_the_gateways_is_told_as_such(stranger: str) -> None:
    with Client(stranger, "cl_key") as client, pytest.raises(RequestRefusedError, match=r"\(502\)") as caught:
        client.suggest(REQUEST)
    assert (caught.value.status, caught.value.retry_after_seconds) == (502, 7.0)
    assert "what stands before it" in caught.value.remedy


def test_silence_ends_at_the_timeout(stranger: str) -> None:
    with Client(stranger, "cl_key", timeout_seconds=0.1) as client:
        with pytest.raises(GatewayUnreachableError, match="did not answer in time"):
            client.ready()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://127.0.0.1", "http://no such host"])
def test_nobody_there_says_how_to_start_one(url: str) -> None:
    with pytest.raises(GatewayUnreachableError, match="start one with `chartloop serve`"), Client(url, "k") as client:
        client.ready()


class Restarting(BaseHTTPRequestHandler):
    """Breaks the first connections, then says that it is not ready, then answers."""

    answers: ClassVar[list[tuple[int, bytes] | None]] = []
    keys: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.keys.append(self.headers["idempotency-key"])
        answer = self.answers.pop(0)
        if answer is None:
            self.close_connection = True
            return
        status, body = answer
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def restarting() -> Iterator[str]:
    Restarting.keys.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Restarting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_breaks_or_passes_is_sent_again_under_one_key(restarting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_DEFAULT_RETRY_SECONDS", 0.01)
    golden = (Path(__file__).parents[1] / "golden" / "suggestion.json").read_bytes()
    Restarting.answers[:] = [None, (503, b"{}"), (200, golden)]
    with Client(restarting, "cl_key") as client:
        assert client.suggest(REQUEST) == Suggestion.model_validate_json(golden)
    assert len(Restarting.keys) == 3 and len(set(Restarting.keys)) == 1
    Restarting.answers[:] = [None] * 2
    with Client(restarting, "cl_key", patience=Patience(max_retries=1)) as client:
        with pytest.raises(ConnectionBrokenError, match="broke; try again"):
            client.suggest(REQUEST)


def test_what_is_not_safe_to_repeat_is_sent_once(restarting: str) -> None:
    Restarting.answers[:] = [None]
    with Client(restarting, "cl_key") as client, pytest.raises(ConnectionBrokenError):
        client._post("/v1/queries/q/send", "")
    assert Restarting.answers == []


def test_notes_for_this_machine_pass_no_proxy(stranger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Client(stranger, "cl_key") as client, pytest.raises(RequestRefusedError):
        client.suggest(REQUEST)
