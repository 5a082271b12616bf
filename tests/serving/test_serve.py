"""``serve`` as a process of its own: started, asked, refused, hurt and ended."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from clinical_coding.bundle import read_bundle
from clinical_coding.suggestions import SuggestionRequest, VersionName
from feedback.settings import load_feedback, load_reasons
from ledger.local_key import LOCAL_KEY_FILE
from scripts.answer_rules import load_rules
from serving.client import Client, GatewayUnreachableError, RequestRefusedError
from serving.serve import serve
from serving.settings import ServingSettings

CONFIGS = Path(__file__).parents[2] / "configs"
FEEDBACK: Any = {
    "feedback": load_feedback(CONFIGS / "feedback.yaml"),
    "reasons": load_reasons(CONFIGS / "reasons.yaml"),
}
CANARY = "Zebedee-Quartermain-19310412"
Launch = Callable[..., "subprocess.Popen[str]"]
REQUEST = SuggestionRequest.model_validate(
    {
        "record_id": "r1",
        "encounter": {"setting": "outpatient", "specialty": "cardiology"},
        "notes": [{"note_id": "n1", "text": f"{CANARY}: essential hypertension and type 2 diabetes mellitus."}],
    }
)


def version_of(bundle: Path) -> VersionName:
    return VersionName(name="clinical-coder", number=3, alias="candidate", bundle_sha256=read_bundle(bundle)[1])


def free_ports(num_ports: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num_ports)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def serve_here(tiny_bundle: Path, tmp_path: Path) -> Callable[..., None]:
    def serve_here_(**given: Any) -> None:
        given = {"data_dir": tmp_path / "data", "backend": "local"} | given
        given |= {"settings": ServingSettings(), "rules": load_rules(tmp_path)} | FEEDBACK
        serve(tiny_bundle, version=version_of(tiny_bundle), **given)

    return serve_here_


def test_served_locally_killed_and_served_again(start: Callable[..., Any], serve_here: Any) -> None:
    serving = start()
    assert serving.ready == f"ready: {serving.url} (version 3, candidate; local worker)"
    key_path = serving.data_dir / "keys" / LOCAL_KEY_FILE
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    with Client(serving.url, serving.key) as client:
        assert client.ready()
        suggestion = client.suggest(REQUEST)
        assert (suggestion.version.number, suggestion.degraded) == (3, False)
        with pytest.raises(
            RequestRefusedError, match=r"too large \(413\): the notes hold .* at most 100,000"
        ) as caught:
            client.suggest(REQUEST.model_copy(update={"notes": (_note("x" * 200_000),)}))
        assert (caught.value.status, caught.value.retry_after_seconds) == (413, None)
    with Client(serving.url, "cl_wrong") as client, pytest.raises(RequestRefusedError, match="unknown or revoked"):
        client.suggest(REQUEST)
    with pytest.raises(ValueError, match=rf"is being served by process {serving.process.pid}; stop that one"):
        serve_here(port=0)
    children = serving.children()
    assert children
    serving.end(signal.SIGKILL)
    wait_for_end(children)
    with Client(serving.url, "k") as client, pytest.raises(GatewayUnreachableError, match="start one with"):
        client.ready()
    again = start()
    assert again.key == serving.key
    children = again.children()
    assert again.end(signal.SIGINT) == (0, "")
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    log = serving.log_path.read_text()
    assert CANARY not in log and "hypertension" not in log
    assert {"request"} <= {json.loads(line)["event"] for line in log.splitlines()}


def _note(text: str) -> Any:
    return REQUEST.notes[0].model_copy(update={"text": text})


def wait_for_end(pids: set[int]) -> None:
    give_up_at = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < give_up_at:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_signal_while_starting_ends_it_cleanly(
    launch: Launch, descendants: Any, tiny_bundle: Path, tmp_path: Path
) -> None:
    process = launch(tiny_bundle, tmp_path / "data", tmp_path / "log")
    give_up_at = time.monotonic() + 30
    while not (children := descendants(process.pid)) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=30)
    assert (process.returncode, printed) == (0, "")
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_a_port_in_use_is_named_before_anything_starts(serve_here: Any, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = rf"port {port}, for the gateway, .* \(Address already in use\); stop what holds it"
        with pytest.raises(ValueError, match=message):
            serve_here(port=port)
    assert not (tmp_path / "data" / "chartloop.db").exists()


def test_a_data_directory_that_cannot_be_made_is_named(serve_here: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"data directory .*/file/data cannot be written \(Not a directory\)"):
        serve_here(data_dir=tmp_path / "file" / "data")


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_is_none_is_named(serve_here: Any, port: int) -> None:
    with pytest.raises(ValueError, match=rf"port {port}, for the gateway"):
        serve_here(port=port)


def test_a_version_that_reads_less_than_the_gateway_accepts_is_refused(
    make_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = make_bundle("short")
    message = r"max_windows 4 .* read 504 characters, .*max_note_characters accepts 100,000; lower .* or train with"
    with pytest.raises(ValueError, match=message):
        serve(
            bundle,
            version=version_of(bundle),
            data_dir=tmp_path / "data",
            settings=ServingSettings(),
            rules=load_rules(tmp_path),
            **FEEDBACK,
        )
    assert not (tmp_path / "data").exists()


def test_a_triton_that_is_too_slow_is_named(launch: Launch, tiny_bundle: Path, tmp_path: Path) -> None:
    grpc: Any = pytest.importorskip("grpc")

    class Slow(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, _: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "late")
            )

    triton = grpc.server(ThreadPoolExecutor(1), handlers=[Slow()])
    address = f"127.0.0.1:{triton.add_insecure_port('127.0.0.1:0')}"
    triton.start()
    given = {"backend": "triton", "triton_url": address, "settings": {"fallback": {"mode": "off"}}}
    process = launch(tiny_bundle, tmp_path / "data", tmp_path / "log", **given)
    process.communicate(timeout=60)
    triton.stop(0).wait()
    assert process.returncode == 1
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last.startswith(f"ValueError: version cannot be served: Triton at {address} did not answer in time; check")


def test_triton_killed_is_answered_by_the_fallback_and_comes_back(start: Callable[..., Any]) -> None:
    grpc_port, metrics_port = free_ports(2)
    serving = start(backend="triton", triton_grpc_port=grpc_port, triton_metrics_port=metrics_port)
    assert serving.ready.endswith(f"(version 3, candidate; triton 127.0.0.1:{grpc_port}; fallback warm)")
    with Client(serving.url, serving.key) as client:
        before = client.suggest(REQUEST)
        assert not before.degraded
        kill_stub(serving.children())
        during = client.suggest(REQUEST)
        assert during.degraded
        assert [code.code for code in during.codes] == [code.code for code in before.codes]
        for one, other in zip(during.codes, before.codes, strict=True):
            assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
        give_up_at = time.monotonic() + 60
        while (after := client.suggest(REQUEST)).degraded and time.monotonic() < give_up_at:
            time.sleep(0.1)
        assert not after.degraded
    assert "chartloop_triton_restarts 1.0" in httpx.get(f"{serving.url}/metrics", trust_env=False).text
    children = serving.children()
    assert serving.end() == (0, "")
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def kill_stub(children: set[int]) -> None:
    [stub] = [child for child in children if "triton_python_b" in Path(f"/proc/{child}/comm").read_text()]
    os.kill(stub, signal.SIGKILL)
