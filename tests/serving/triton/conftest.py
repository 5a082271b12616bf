import asyncio
import importlib.util
import py_compile
import socket
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.triton.client import TritonBackend
from serving.triton.config import DynamicBatching, clinical_coder_config
from serving.triton.repository import render_repository
from serving.triton.server import TritonServer

# Version 1 is the product. Version 2 has the product's model around a scorer with faults that a sound bundle
# cannot be made to show, and without the seconds that torch takes to load.
FAULTY_MODEL = """
import sys
import time
import types

from clinical_coding.bundle import read_bundle, read_labels
from clinical_coding.predictions import PredictedCode


class FaultyScorer:
    def __init__(self, folder, *, device, num_threads, max_tokens_a_pass):
        self.labels = read_labels(folder)
        self.bundle_sha256 = read_bundle(folder)[1]

    def score(self, documents):
        return [self.score_one(notes) for notes in documents]

    def score_one(self, notes):
        text = notes[0].text
        if "slow" in text:
            time.sleep(1.5)
        if "breaks" in text:
            raise RuntimeError(text)
        label = self.labels[0]
        code = PredictedCode(system=label.system, code=label.code, confidence=0.25, suggested=False)
        return () if "codeless" in text else (code,)

    def score_passes(self, documents, *, is_wanted):
        # A pass for each document.
        for at, notes in enumerate(documents):
            if is_wanted(at):
                measured = dict.fromkeys(("read_seconds", "scored_seconds", "num_tokens", "num_computed_tokens"), 0)
                codes = (self.score_one(notes),)
                yield types.SimpleNamespace(documents=(at,), codes=codes, document_tokens=(0,), **measured)


sys.modules["training.model"] = types.ModuleType("training.model")
sys.modules["training.model"].Scorer = FaultyScorer
sys.modules["training.model"].ScoredPass = None

from serving.triton.model import TritonPythonModel
"""

BATCHING = DynamicBatching(max_queue_size=24, max_bulk_queue_size=4)

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@dataclass(frozen=True)
class Running:
    """The one Triton that these tests share."""

    server: TritonServer
    repository: Path
    start_seconds: float
    metrics_url: str
    sound: TritonBackend
    faulty: TritonBackend


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    """Run a coroutine in one event loop, to which the long-lived channels belong."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def free_port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def two_free_ports() -> list[int]:
    return free_ports(2)


def free_ports(num_ports: int) -> list[int]:
    sockets = [socket.socket() for _ in range(num_ports)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.fixture(scope="session")
def running(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Iterator[Running]:
    if importlib.util.find_spec("pytriton") is None:
        pytest.skip("nvidia-pytriton is not installed; install chartloop[triton]")
    # A path that a command line and a shell would have to quote.
    folder = tmp_path_factory.mktemp("triton") / "données #1 of 2"
    repository = folder / "model_repository"
    config = clinical_coder_config(versions=(1, 2), device="cpu", max_num_threads=1, dynamic_batching=BATCHING)
    for number in (1, 2):
        version = render_repository(repository, bundle=tiny_bundle, number=number, config=config)
    (version / "model.py").write_text(FAULTY_MODEL)
    py_compile.compile(str(version / "model.py"), doraise=True)
    grpc_port, metrics_port = free_ports(2)
    server = TritonServer(
        repository, number=1, config=config, data_dir=folder, grpc_port=grpc_port, metrics_port=metrics_port
    )
    sound = server.backend

    async def start() -> float:
        clock = asyncio.get_running_loop().time
        started = clock()
        await server.start()
        return clock() - started

    start_seconds = run(start())
    faulty = run(server.load(2))
    yield Running(server, repository, start_seconds, f"http://127.0.0.1:{metrics_port}/metrics", sound, faulty)
    run(server.stop())
