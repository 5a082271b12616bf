"""The same notes give the same codes: from Triton, from the fallback, from the forward itself, alone and in company."""

import asyncio
import importlib.util
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clinical_coding.bundle import read_bundle
from clinical_coding.predictions import PredictedCode
from clinical_coding.readers import read_records
from clinical_coding.records import Note
from serving.backends import Backend, Priority
from serving.claims import choose_ports
from serving.fallback.client import FallbackBackend
from serving.fallback.settings import FallbackSettings
from serving.triton.config import clinical_coder_config
from serving.triton.repository import render_repository
from serving.triton.server import TritonServer

if TYPE_CHECKING:
    from training.model import Scorer

Document = tuple[Note, ...]
Codes = tuple[PredictedCode, ...]

TOLERANCE = 1e-5
"""Of confidences: float32 sums over stacks of other shapes round otherwise."""
NUM_CLIENTS = 12
NUM_TURNS = 2


@dataclass(frozen=True)
class Answering:
    """Whoever can score, and the event loop that they belong to."""

    triton: Backend
    fallback: Backend
    scorer: "Scorer"
    runner: asyncio.Runner


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """Encounters from some words to thousands: one note, several, and several strung together."""
    texts = [record.notes for record in read_records("sample:60?seed=11")]
    made = list(texts[:12])
    for num_records in (2, 3, 5, 8, 12):
        text = " ".join(note.text for notes in texts[12 : 12 + num_records] for note in notes)
        made.append((Note(note_id="long", text=text),))
    every = " ".join(note.text for notes in texts for note in notes)
    made.append((Note(note_id="longest", text=every[:20_000]),))
    made += [(Note(note_id="n1", text=text),) for text in ("Asthma.", "Chest pain, no fever.", "\N{THERMOMETER} 39 °C")]
    numbers = count()
    made.append(tuple(Note(note_id=f"n{next(numbers)}", text=note.text) for notes in texts[30:34] for note in notes))
    made.append((Note(note_id="n1", text=texts[0][0].text), Note(note_id="n2", text="Type 2 diabetes.")))
    made.append((Note(note_id="n1", text="\u200b"),))
    return made


@pytest.fixture(scope="module")
def answering(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answering]:
    if importlib.util.find_spec("pytriton") is None:
        pytest.skip("nvidia-pytriton is not installed; install chartloop[triton]")
    from training.model import Scorer

    folder = tmp_path_factory.mktemp("equality")
    # Passes so small that a batch takes several of them.
    config = clinical_coder_config(versions=(1,), device="cpu", max_num_threads=1, max_pass_tokens=1024)
    render_repository(folder / "repository", bundle=tiny_bundle, number=1, config=config)
    grpc_port, metrics_port = choose_ports((0, 0))
    server = TritonServer(
        folder / "repository",
        number=1,
        config=config,
        data_dir=folder,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
    )
    worker = FallbackBackend(
        tiny_bundle,
        bundle_sha256=read_bundle(tiny_bundle)[1],
        settings=FallbackSettings(num_threads=1),
        log_path=folder / "worker.log",
    )
    with asyncio.Runner() as runner:
        try:
            runner.run(worker.start())
            runner.run(server.start())
            runner.run(worker.wait_until_warm(timeout_seconds=120))
            yield Answering(server.backend, worker, Scorer(tiny_bundle, num_threads=1), runner)
        finally:
            runner.run(worker.stop())
            runner.run(server.stop())


@pytest.fixture(scope="module")
def alone(answering: Answering, documents: list[Document]) -> list[Codes]:
    """What the forward itself gives for each document by itself."""
    answers = [answering.scorer.score([notes])[0] for notes in documents]
    assert max(sum(len(note.text.split()) for note in notes) for notes in documents) > 2_000
    assert any(code.evidence for codes in answers for code in codes)
    return answers


def assert_same(answer: Codes, expected: Codes) -> None:
    """The same codes with the same evidence; only codes whose confidences nearly tie may change places."""
    by_key = {code.key: code for code in answer}
    least = expected[-1].confidence if expected else 0.0
    for code in expected:
        other = by_key.pop(code.key, None)
        # Of two that nearly tie at the hundredth place either may be named.
        confidence = least if other is None else other.confidence
        assert confidence == pytest.approx(code.confidence, abs=TOLERANCE)
        if other is not None:
            assert (other.suggested, other.evidence) == (code.suggested, code.evidence)
    assert all(code.confidence == pytest.approx(least, abs=TOLERANCE) for code in by_key.values())
    confidences = [code.confidence for code in answer]
    assert confidences == sorted(confidences, reverse=True)


@pytest.mark.parametrize("name", ["triton", "fallback"])
def test_each_alone(answering: Answering, documents: list[Document], alone: list[Codes], name: str) -> None:
    backend: Backend = getattr(answering, name)
    for notes, expected in zip(documents, alone, strict=True):
        answer = answering.runner.run(backend.score(notes, timeout_seconds=60))
        assert_same(answer.codes, expected)


@pytest.mark.parametrize("name", ["triton", "fallback"])
def test_many_at_once_in_any_order(
    answering: Answering, documents: list[Document], alone: list[Codes], name: str
) -> None:
    backend: Backend = getattr(answering, name)
    order = random.Random(5).sample(range(len(documents)), k=len(documents)) * NUM_TURNS

    async def client(asked: Sequence[int]) -> int:
        largest = 0
        for at in asked:
            priority = Priority.BULK if at % 3 == 0 else Priority.INTERACTIVE
            answer = await backend.score(documents[at], timeout_seconds=120, priority=priority)
            assert_same(answer.codes, alone[at])
            assert answer.timings is not None
            largest = max(largest, answer.timings.batch_requests)
        return largest

    async def ask_all() -> list[int]:
        return await asyncio.gather(*(client(order[first::NUM_CLIENTS]) for first in range(NUM_CLIENTS)))

    # Some did go through the encoder together.
    assert max(answering.runner.run(ask_all())) > 1


def test_in_one_batch_of_the_forward_in_any_order(
    answering: Answering, documents: list[Document], alone: list[Codes]
) -> None:
    order = random.Random(6).sample(range(len(documents)), k=len(documents))
    answers = answering.scorer.score([documents[at] for at in order])
    for at, answer in zip(order, answers, strict=True):
        assert_same(answer, alone[at])
