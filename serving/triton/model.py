"""The model inside Triton's Python backend: requests to tensors around one forward (stage 6).

Runs in the backend's stub process, which reads ``<version>/model.py`` of the repository and finds
``TritonPythonModel`` here. Windows, forward, calibration and evidence are ``training.model``'s;
this module knows nothing of queues, ports or HTTP. A request is answered on its own, whatever its
neighbours in the batch hold, and no message to client or log repeats its input. A batch is sorted,
interactive before bulk and short before long, and goes through the encoder in passes of a token budget;
each request is answered as soon as its pass is done, so that a short note does not wait for a long one.
"""

import json
import os
import re
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Note
from serving.garbage_collection import freeze_loaded
from serving.triton.config import (
    BULK,
    BUNDLE_FOLDER,
    BUNDLE_SHA256,
    CODE_INDEX,
    CONFIDENCE,
    EVIDENCE,
    MAX_NUM_THREADS,
    MAX_PASS_TOKENS,
    NOTES,
    SCORING_FAILED,
    SUGGESTED,
    TIMINGS,
)
from serving.triton.model_metrics import ModelMetrics
from training.model import ScoredPass, Scorer

__all__ = ["TritonPythonModel"]

_INVALID: Final = "NOTES must hold one JSON list, in UTF-8, of {note_id, text} with distinct note_id and text in each"
_WARM_UP_SENTENCE: Final = "Patient seen for follow up of chest pain. "
"""Ten tokens."""
# A first run of a shape takes some 40 ms more; a server that comes back after a death must not spend more on that.
_WARM_UP_SECONDS: Final = 0.5
_SAFE_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


class _NoteText(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note_id: str
    text: str


_REQUEST: Final = TypeAdapter(Annotated[list[_NoteText], Field(min_length=1)])


class TritonPythonModel:
    """One instance of one version; Triton calls the three methods, from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the bundle that lies beside the model file, and run it once at each size.

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
        max_pass_tokens = int(config["parameters"][MAX_PASS_TOKENS]["string_value"])
        on_gpu = args["model_instance_kind"] == "GPU"
        self._scorer = Scorer(
            Path(args["model_repository"]) / args["model_version"] / BUNDLE_FOLDER,
            device=f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu",
            num_threads=min(most_threads, len(os.sched_getaffinity(0))),
            max_tokens_a_pass=max_pass_tokens,
        )
        self._metrics = ModelMetrics(args["model_version"])
        self._index = {label.key: index for index, label in enumerate(self._scorer.labels)}
        self._bundle_digest = np.frombuffer(bytes.fromhex(self._scorer.bundle_sha256), dtype=np.uint8)[np.newaxis]
        self._warm_up(config["max_batch_size"], max_pass_tokens)
        freeze_loaded()

    def execute(self, requests: Sequence[Any]) -> None:
        """Answer a batch, each request through its own sender.

        Args:
            requests: What the batcher gathered; some may be cancelled or malformed.

        Nothing is raised: Triton would send the text of an exception to every client of the batch.
        """
        waiting: list[_Waiting] = []
        for request in requests:
            one = _Waiting(request)
            try:
                one.notes = _read(request)
            except ValueError:
                one.send(_error(_INVALID, pb_utils.TritonError.INVALID_ARG))
            else:
                waiting.append(one)
        waiting.sort(key=lambda one: (one.is_bulk, one.num_characters))
        self._answer(waiting)
        for one in waiting:
            if not one.is_answered:
                self._metrics.dropped.increment(1)
                one.send(_error("the request was cancelled", pb_utils.TritonError.CANCELLED))

    def finalize(self) -> None:
        """Let go of the weights before the stub ends."""
        del self._scorer

    def _warm_up(self, max_batch_size: int, max_pass_tokens: int) -> None:
        """Run every length of note and every size of batch once, short ones first, within a time.

        The first run of a shape compiles and allocates; nobody should wait for that.
        """
        started = time.perf_counter()
        batches = [(sentences, 1) for sentences in _doubled(1, most=max_pass_tokens // 10)]
        batches += [(40, 2**power) for power in range(1, max_batch_size.bit_length())]
        for num_run, (num_sentences, size) in enumerate(batches):
            seconds = time.perf_counter() - started
            if seconds > _WARM_UP_SECONDS:
                pb_utils.Logger.log_warn(f"warm-up ended after {seconds:.1f} s and {num_run} of {len(batches)} batches")
                return
            self._scorer.score([[Note(note_id="warm-up", text=_WARM_UP_SENTENCE * num_sentences)]] * size)
        pb_utils.Logger.log_info(f"warm-up took {time.perf_counter() - started:.1f} s")

    def _answer(self, waiting: "Sequence[_Waiting]") -> None:
        """Score together; what fails is scored one by one, so that a single document fails alone."""
        try:
            passes = self._scorer.score_passes(
                [one.notes for one in waiting], is_wanted=lambda position: waiting[position].is_wanted
            )
            for scored in passes:
                self._metrics.count(scored)
                for at, position in enumerate(scored.documents):
                    one = waiting[position]
                    one.send(self._respond(scored.codes[at], notes=one.notes, timings=_timings(scored, at)))
        except Exception as error:
            left = [one for one in waiting if not one.is_answered]
            if len(waiting) == 1:
                for one in left:
                    _log_failure(error, request_id=one.request.request_id())
                    one.send(_error(SCORING_FAILED, pb_utils.TritonError.INTERNAL))
                return
            for one in left:
                self._answer([one])

    def _respond(self, codes: Sequence[PredictedCode], *, notes: Sequence[Note], timings: NDArray[np.float32]) -> Any:
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
            TIMINGS: timings,
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, tensor) for name, tensor in tensors.items()])


class _Waiting:
    """A request that wants one answer."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self.notes: list[Note] = []
        self.is_answered = False
        # Triton's own priority is not shown to the model.
        self.is_bulk = bool(json.loads(request.parameters() or "{}").get(BULK))
        self._sender = request.get_response_sender()

    @property
    def num_characters(self) -> int:
        return sum(len(note.text) for note in self.notes)

    @property
    def is_wanted(self) -> bool:
        """Whether the client waits still."""
        return not self.request.is_cancelled()

    def send(self, response: Any) -> None:
        """Answer it."""
        self.is_answered = True
        self._sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _doubled(first: int, *, most: int) -> list[int]:
    return [first * 2**power for power in range(most.bit_length()) if first * 2**power <= most]


def _timings(scored: ScoredPass, at: int) -> NDArray[np.float32]:
    """In the order of ``serving.backends.Timings``, but for the time in the queue, which is not known here."""
    row = (
        scored.read_seconds,
        scored.scored_seconds,
        len(scored.documents),
        scored.num_tokens,
        scored.num_computed_tokens,
        scored.document_tokens[at],
    )
    return np.array([row], dtype=np.float32)


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
