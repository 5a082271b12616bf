import asyncio
import hashlib
import importlib.util
import json
import py_compile
import socket
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.bundle import read_bundle, read_labels
from serving.triton.client import TritonBackend
from serving.triton.config import DynamicBatching, clinical_coder_config
from serving.triton.repository import render_repository
from serving.triton.server import TritonServer

# Version 1 is the product; version 2 is the same model with faults that a sound bundle cannot be made to show.
FAULTY_MODEL = """
import time

from serving.triton.model import TritonPythonModel as SoundModel


class FaultyScorer:
    def __init__(self, scorer):
        self.labels, self.bundle_sha256, self.sound = scorer.labels, scorer.bundle_sha256, scorer

    def score(self, documents):
        text = " ".join(note.text for notes in documents for note in notes)
        if "slow" in text:
            time.sleep(1.5)
        if "breaks" in text:
            raise RuntimeError(text)
        scored = self.sound.score(documents)
        return [() if "codeless" in notes[0].text else codes for notes, codes in zip(documents, scored)]


class TritonPythonModel(SoundModel):
    def initialize(self, args):
        super().initialize(args)
        self._scorer = FaultyScorer(self._scorer)
"""

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@dataclass(frozen=True)
class Running:
    """The one Triton that these tests share."""

    server: TritonServer
    repository: Path
    start_seconds: float
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


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Make a bundle that has labels and no weights: whole for whoever publishes it."""

    def make(name: str = "bundle", *, description: str = "Chest pain") -> Path:
        folder = tmp_path / name
        (folder / "tokenizer").mkdir(parents=True)
        label = {"system": "icd10cm", "release": "2026-04", "code": "R07.9", "description": description}
        (folder / "labels.json").write_text(json.dumps([label]))
        (folder / "tokenizer" / "tokenizer.json").write_text("{}")
        files = ["labels.json", "tokenizer/tokenizer.json"]
        index = {
            "schema_version": 1,
            "base_model": {"name": "tiny", "revision": "1", "sha256": "0" * 64},
            "label_space_sha256": "0" * 64,
            "releases": {"icd10cm": ["2026-04"]},
            "windowing": {"max_window_tokens": 64, "max_windows": 4},
            "calibration": {"logit_weight": 1.0, "lexical_weight": 0.0, "offset": 0.0},
            "threshold": 0.5,
            "manifest_sha256": "0" * 64,
            "code_commit": None,
            "reference": {},
            "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files},
        }
        (folder / "bundle.json").write_text(json.dumps(index))
        return folder

    return make


@pytest.fixture(scope="session")
def running(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Iterator[Running]:
    if importlib.util.find_spec("pytriton") is None:
        pytest.skip("nvidia-pytriton is not installed; install chartloop[triton]")
    folder = tmp_path_factory.mktemp("triton")
    repository = folder / "model_repository"
    config = clinical_coder_config(
        versions=(1, 2), device="cpu", max_num_threads=1, dynamic_batching=DynamicBatching(max_queue_size=24)
    )
    for number in (1, 2):
        version = render_repository(repository, bundle=tiny_bundle, number=number, config=config)
    (version / "model.py").write_text(FAULTY_MODEL)
    py_compile.compile(str(version / "model.py"), doraise=True)
    grpc_port, metrics_port = free_ports(2)
    server = TritonServer(repository, number=1, data_dir=folder, grpc_port=grpc_port, metrics_port=metrics_port)
    faulty = TritonBackend(
        server.backend.url, version=2, labels=read_labels(tiny_bundle), bundle_sha256=read_bundle(tiny_bundle)[1]
    )

    async def start() -> float:
        clock = asyncio.get_running_loop().time
        started = clock()
        await server.start()
        return clock() - started

    async def stop() -> None:
        await faulty.close()
        await server.stop()

    start_seconds = run(start())
    yield Running(server, repository, start_seconds, server.backend, faulty)
    run(stop())
