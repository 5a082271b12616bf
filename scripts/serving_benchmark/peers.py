"""The peers around the same trained version, each started as its own documentation says."""

import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.serving_benchmark.load import Ask, Reply, http_client, suggested
from scripts.serving_benchmark.peer_wire import Forward
from scripts.serving_benchmark.processes import ProcessTree, free_port, started

__all__ = ["Batching", "Peer", "ask_peer", "fastapi_peer", "litserve_peer", "mlflow_peer"]

_ALONE: Final = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "HF_HUB_OFFLINE": "1"}
"""Environment of a peer that is to call nobody."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer."""

    url: str
    speaks_mlflow: bool
    """Whether encounters go as rows of a table."""
    tree: ProcessTree


@dataclass(frozen=True, slots=True)
class Batching:
    """How LitServe gathers requests."""

    max_batch_size: int
    batch_timeout_seconds: float

    def __str__(self) -> str:
        return f"max_batch_size={self.max_batch_size}, batch_timeout={self.batch_timeout_seconds:g}"


@asynccontextmanager
async def ask_peer(peer: Peer) -> AsyncIterator[Ask]:
    """Ask a peer for codes."""
    async with http_client({}) as http:

        async def ask(text: str) -> Reply:
            content: Any = {"notes": [{"note_id": "n", "text": text}]}
            if peer.speaks_mlflow:
                content = {"dataframe_split": {"columns": ["encounter"], "data": [[json.dumps(content)]]}}
            answer = await http.post(peer.url, json=content)
            if answer.is_error:
                return Reply(answer.status_code)
            told = answer.json()
            codes = json.loads(told["predictions"][0]) if peer.speaks_mlflow else told
            return Reply(answer.status_code, codes=suggested(codes))

        yield ask


@contextmanager
def fastapi_peer(bundle: Path, *, threads: int) -> Iterator[Peer]:
    """The padded forward behind FastAPI, one by one."""
    with _module("peer_fastapi", "--bundle", bundle, "--threads", threads) as peer:
        yield peer


@contextmanager
def litserve_peer(bundle: Path, *, threads: int, forward: Forward, batching: Batching) -> Iterator[Peer]:
    """One of the forwards behind LitServe."""
    arguments = ("--bundle", bundle, "--threads", threads, "--forward", forward.value)
    sizes = (batching.max_batch_size, "--batch-timeout-seconds", batching.batch_timeout_seconds)
    with _module("peer_litserve", *arguments, "--max-batch-size", *sizes) as peer:
        yield peer


@contextmanager
def mlflow_peer(bundle: Path) -> Iterator[Peer]:
    """The padded forward behind ``mlflow models serve``."""
    with tempfile.TemporaryDirectory() as folder:
        model, port = Path(folder) / "model", free_port()
        _save(model, bundle=bundle)
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model)]
        command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
        url = f"http://127.0.0.1:{port}"
        with started(command, health_url=f"{url}/health", environment=_ALONE) as tree:
            yield Peer(f"{url}/invocations", speaks_mlflow=True, tree=tree)


def _save(to: Path, *, bundle: Path) -> None:
    import mlflow

    source = Path(__file__).with_name("mlflow_model.py")
    # No requirements: it is served where everything is installed.
    mlflow.pyfunc.save_model(to, python_model=str(source), artifacts={"bundle": str(bundle)}, pip_requirements=[])


@contextmanager
def _module(name: str, *arguments: object) -> Iterator[Peer]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", f"scripts.serving_benchmark.{name}", "--port", str(port), *map(str, arguments)]
    with started(command, health_url=f"{url}/health", environment=_ALONE) as tree:
        yield Peer(f"{url}/predict", speaks_mlflow=False, tree=tree)
