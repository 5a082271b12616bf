"""The typed client and ``chartloop decide`` against a gateway on a real port."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
import uvicorn
from starlette.testclient import TestClient

from clinical_coding.decisions import Decision
from clinical_coding.suggestions import SuggestionRequest
from scripts.chartloop import main
from serving.client import Client, RequestRefusedError

Decide = Callable[..., tuple[int, str, str]]


@pytest.fixture
def url(gateway: TestClient) -> Iterator[str]:
    config = uvicorn.Config(gateway.app, host="127.0.0.1", port=0, log_config=None, lifespan="off")  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    # Logs that nobody configured would go to standard output, where the command's own words are.
    with structlog.testing.capture_logs():
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def decide(url: str, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Decide:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "300")
        monkeypatch.setattr(sys, "argv", ["chartloop", "decide", *arguments, "--url", url, "--key", key])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def suggestion_id(url: str, key: str, request_body: dict[str, Any]) -> str:
    with Client(url, key) as client:
        return client.suggest(SuggestionRequest.model_validate(request_body)).suggestion_id


def test_the_client_decides_once_and_reads_back(url: str, key: str, suggestion_id: str) -> None:
    decision = Decision.model_validate(
        {
            "suggestion_id": suggestion_id,
            "seconds_spent": 12.5,
            "codes": [{"action": "reject", "system": "icd10cm", "code": "I10", "reason": "not-documented"}],
        }
    )
    with Client(url, key) as client:
        answer = client.decide(decision, idempotency_key="k1")
        assert client.decide(decision, idempotency_key="k1") == answer
        with pytest.raises(RequestRefusedError, match=r"\(409\)"):
            client.decide(decision)
        kept = client.decision(answer.decision_id)
        assert (kept.decision, kept.overrides) == (decision, answer.overrides)
        assert client.decisions_on(suggestion_id).decisions == (kept,)
        assert client.suggestion(suggestion_id).suggestion_id == suggestion_id
        with pytest.raises(RequestRefusedError, match=r"\(404\): no suggestion of yours"):
            client.suggestion("nothing")
        with pytest.raises(RequestRefusedError, match=r"\(404\)"):
            client.suggestion("../../healthz")


def test_the_command_says_what_was_recorded(decide: Decide, url: str, key: str, suggestion_id: str) -> None:
    code, out, err = decide(
        suggestion_id,
        *("--modify", "icd10cm:I10=icd10cm:I11.9,more-specific-code-documented"),
        *("--add", "icd10cm:e119=missed-documentation", "--seconds-spent", "40"),
    )
    assert (code, err) == (0, "")
    assert "Stored: decided; codes not named stand." in out
    with Client(url, key) as client:
        [kept] = client.decisions_on(suggestion_id).decisions
    assert kept.decision.seconds_spent == 40
    assert [(one.action, one.code, one.to_code) for one in kept.overrides] == [
        ("modify", "I10", "I11.9"),
        ("add", "E11.9", None),
    ]
    assert kept.decision_id in out and all(one.override_id in out for one in kept.overrides)


def test_accepting_all_is_said_aloud(decide: Decide, suggestion_id: str) -> None:
    code, _, err = decide(suggestion_id)
    assert code == 2
    assert "nothing is decided; let all codes stand with --accept-rest" in err
    code, out, _ = decide(suggestion_id, "--defer", "--json")
    assert (code, json.loads(out)["overrides"]) == (0, [])
    assert decide(suggestion_id, "--accept-rest")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reject", "icd10cm:I10"), "--reject must be written like icd10cm:I10=not-documented"),
        (("--reject", "Patient Jane=x"), "--reject must be written like"),
        (("--modify", "icd10cm:I10=icd10cm:I11.9"), "--modify must be written like"),
        (("--modify", "icd10cm:I10=cpt:99213,wrong-level"), "must be of the same system"),
        (("--add", "cpt:12=missed-service"), "is not a code of cpt"),
        (("--escalate", "--defer"), "exclude each other"),
        (("--reject", "icd10cm:I10=because"), "'because' is not a reason code"),
    ],
)
def test_what_is_written_wrong_is_named(
    decide: Decide, suggestion_id: str, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = decide(suggestion_id, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Jane" not in err and "Traceback" not in err
