import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from clinical_coding.records import Note
from serving.backends import RequestFailedError

SECRET = "Wilhelmina Quartermaine"
SOUND = (Note(note_id="n1", text="History of hypertension."),)


async def infer_raw(client: Any, payload: bytes, *, copies: int = 1) -> Any:
    tensor = InferInput("NOTES", [copies, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[payload]] * copies, dtype=np.object_))
    return await client.infer("clinical-coder", [tensor], model_version="1", client_timeout=10)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"[1]",
        b'[{"note_id": "n1"}]',
        b'[{"note_id": "n1", "text": "   "}]',
        b'[{"note_id": "", "text": "x"}]',
        b'[{"note_id": "n1", "text": "x", "patient": "Wilhelmina Quartermaine"}]',
        b'[{"note_id": "n1", "text": "x"}, {"note_id": "n1", "text": "y"}]',
        b'[{"note_id": "n1", "text": "\\ud800"}]',
    ],
)
def test_bad_input_is_answered_with_a_fixed_message(running: Any, run: Any, payload: bytes) -> None:
    async def ask() -> None:
        async with InferenceServerClient(running.sound.url) as client:
            with pytest.raises(InferenceServerException) as caught:
                await infer_raw(client, payload)
            assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
            assert caught.value.message().startswith("NOTES must hold one JSON list")

    run(ask())


def test_two_documents_in_one_request_are_refused(running: Any, run: Any) -> None:
    async def ask() -> None:
        async with InferenceServerClient(running.sound.url) as client:
            with pytest.raises(InferenceServerException, match="NOTES must hold"):
                await infer_raw(client, b'[{"note_id": "n1", "text": "x"}]', copies=2)

    run(ask())


def test_good_requests_survive_bad_neighbours(running: Any, run: Any) -> None:
    breaking = (Note(note_id="n1", text=f"{SECRET} breaks the scorer."),)

    async def ask() -> list[Any]:
        documents = [SOUND, breaking, SOUND, breaking]
        asked = (running.faulty.score(notes, timeout_seconds=20) for notes in documents)
        return await asyncio.gather(*asked, return_exceptions=True)

    first, broken, second, broken_too = run(ask())
    assert [len(first), first[0].confidence] == [len(second), second[0].confidence] == [1, 0.25]
    for error in (broken, broken_too):
        assert isinstance(error, RequestFailedError)
        assert SECRET not in str(error)


def test_an_answer_may_hold_no_codes(running: Any, run: Any) -> None:
    notes = (Note(note_id="n1", text="codeless"),)
    assert run(running.faulty.score(notes, timeout_seconds=10)) == ()


def test_loading_and_scoring_change_no_file_of_the_version(running: Any, run: Any, tiny_bundle: Path) -> None:
    version = running.repository / "clinical-coder" / "1"

    def snapshot() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in version.rglob("*")}

    before = snapshot()
    run(running.sound.score(SOUND, timeout_seconds=10))
    assert snapshot() == before
    files = {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()}
    bundled = {
        f"bundle/{path.relative_to(tiny_bundle).as_posix()}" for path in tiny_bundle.rglob("*") if path.is_file()
    }
    [compiled] = files - bundled - {"model.py"}
    assert compiled.startswith("__pycache__/model.")
