"""The model inside Triton's Python backend: requests to tensors around one forward (stage 6).

Runs in the backend's stub process, which reads ``<version>/model.py`` of the repository and finds
``TritonPythonModel`` here. Windows, forward, calibration and evidence are ``training.model``'s;
this module knows nothing of queues, ports or HTTP. A request is answered on its own, whatever its
neighbours in the batch hold, and no message to client or log repeats its input.
"""

import json
import os
import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import triton_python_backend_utils as pb_utils
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Note
from serving.garbage_collection import freeze_loaded
from serving.triton.config import (
    BUNDLE_FOLDER,
    BUNDLE_SHA256,
    CODE_INDEX,
    CONFIDENCE,
    EVIDENCE,
    MAX_NUM_THREADS,
    NOTES,
    SCORING_FAILED,
    SUGGESTED,
)
from training.model import Scorer

__all__ = ["TritonPythonModel"]

_INVALID: Final = "NOTES must hold one JSON list, in UTF-8, of {note_id, text} with distinct note_id and text in each"
_WARM_UP_NOTE: Final = Note(note_id="warm-up", text="Patient seen for follow up of chest pain. " * 40)
_SAFE_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


class _NoteText(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note_id: str
    text: str


_REQUEST: Final = TypeAdapter(Annotated[list[_NoteText], Field(min_length=1)])


class TritonPythonModel:
    """One instance of one version; Triton calls the three methods, from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the bundle that lies beside the model file, and run every batch size once.

        Args:
            args: Triton's description of the instance, every value as text.

        Raises:
            ValueError: The environment or the bundle cannot serve; the version then does not load.
        """
        if int(np.__version__.split(".")[0]) >= 2:
            # This backend answers every request with empty tensors and status OK under numpy 2.
            raise ValueError(f"numpy {np.__version__} must be below 2 for Triton 2.51; install 'numpy<2'")
        config = json.loads(args["model_config"])
        most_threads = int(config["parameters"][MAX_NUM_THREADS]["string_value"])
        on_gpu = args["model_instance_kind"] == "GPU"
        self._scorer = Scorer(
            Path(args["model_repository"]) / args["model_version"] / BUNDLE_FOLDER,
            device=f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu",
            num_threads=min(most_threads, len(os.sched_getaffinity(0))),
        )
        self._index = {label.key: index for index, label in enumerate(self._scorer.labels)}
        self._bundle_digest = np.frombuffer(bytes.fromhex(self._scorer.bundle_sha256), dtype=np.uint8)[np.newaxis]
        self._warm_up(config["max_batch_size"])
        freeze_loaded()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer a batch in one forward.

        Args:
            requests: What the batcher gathered; some may be cancelled or malformed.

        Returns:
            One response a request, in order. Nothing is raised: Triton would send the text of an
            exception to every client of the batch.
        """
        responses: dict[int, Any] = {}
        documents: dict[int, list[Note]] = {}
        for position, request in enumerate(requests):
            if request.is_cancelled():
                responses[position] = _error("the request was cancelled", pb_utils.TritonError.CANCELLED)
                continue
            try:
                documents[position] = _read(request)
            except ValueError:
                responses[position] = _error(_INVALID, pb_utils.TritonError.INVALID_ARG)
        responses.update(self._answer(documents, requests=requests))
        return [responses[position] for position in range(len(requests))]

    def finalize(self) -> None:
        """Let go of the weights before the stub ends."""
        del self._scorer

    def _warm_up(self, max_batch_size: int) -> None:
        size = 1
        while size <= max_batch_size:
            self._scorer.score([[_WARM_UP_NOTE]] * size)
            size *= 2

    def _answer(self, documents: dict[int, list[Note]], *, requests: Sequence[Any]) -> dict[int, Any]:
        """Score together; when that fails, one by one, so that a single document fails alone."""
        if not documents:
            return {}
        try:
            scored = self._scorer.score(list(documents.values()))
            return {
                position: self._respond(codes, notes=documents[position])
                for position, codes in zip(documents, scored, strict=True)
            }
        except Exception as error:
            if len(documents) > 1:
                return {
                    position: self._answer({position: notes}, requests=requests)[position]
                    for position, notes in documents.items()
                }
            [position] = documents
            _log_failure(error, request_id=requests[position].request_id())
            return {position: _error(SCORING_FAILED, pb_utils.TritonError.INTERNAL)}

    def _respond(self, codes: Sequence[PredictedCode], *, notes: Sequence[Note]) -> Any:
        note_index = {note.note_id: index for index, note in enumerate(notes)}
        evidence_E4 = [
            (rank, note_index[span.note_id], span.start, span.end)
            for rank, code in enumerate(codes)
            for span in code.evidence
        ]
        # The leading 1 is the batch dimension: each response holds one request.
        tensors = {
            CODE_INDEX: np.array([[self._index[code.key] for code in codes]], dtype=np.int32),
            CONFIDENCE: np.array([[code.confidence for code in codes]], dtype=np.float32),
            SUGGESTED: np.array([[code.suggested for code in codes]], dtype=np.bool_),
            EVIDENCE: np.array(evidence_E4, dtype=np.int32).reshape(1, -1, 4),
            BUNDLE_SHA256: self._bundle_digest,
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, tensor) for name, tensor in tensors.items()])


def _read(request: Any) -> list[Note]:
    """Take the notes of one request; whatever is wrong with them is a ValueError."""
    tensor = pb_utils.get_input_tensor_by_name(request, NOTES).as_numpy()
    if tensor.shape != (1, 1):
        raise ValueError("one document a request")
    try:
        notes = [Note(note_id=note.note_id, text=note.text) for note in _REQUEST.validate_json(tensor[0, 0])]
    except ValidationError:
        raise ValueError("malformed notes") from None
    if len({note.note_id for note in notes}) != len(notes):
        raise ValueError("note_id repeats")
    return notes


def _error(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))


def _log_failure(error: Exception, *, request_id: str) -> None:
    """Say where scoring failed. The exception's own text stays unsaid: it may quote the note."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    shown_id = request_id if _SAFE_ID.fullmatch(request_id) else "-"
    pb_utils.Logger.log_error(
        f"scoring failed: request {shown_id}: {type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
    )
