"""Asks a Triton, ours or an external one, for scored codes (between stages 6 and 7).

Notes go out as one JSON text; ranked label positions, confidences and evidence offsets come
back as tensors and become ``PredictedCode`` here. This module knows nothing of tokens, of
processes, or of what else could answer; it never repeats a server's message, which may hold text.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from clinical_coding.bundle import Label
from clinical_coding.codes import EvidenceSpan
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Note
from serving.backends import (
    BackendError,
    BackendUnavailableError,
    DeadlineExceededError,
    InvalidInputError,
    Priority,
    QueueFullError,
    RequestFailedError,
    ScoredCodes,
    Timings,
)
from serving.tracing import traceparent
from serving.triton.config import (
    BULK,
    BUNDLE_SHA256,
    CODE_INDEX,
    CONFIDENCE,
    EVIDENCE,
    MODEL_NAME,
    NOTES,
    SCORING_FAILED,
    SUGGESTED,
    TIMINGS,
    TritonTls,
)
from serving.triton.connecting import connect

try:
    from tritonclient.grpc import InferInput
    from tritonclient.utils import InferenceServerException
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("the Triton client needs tritonclient; install chartloop[triton-client]") from error

__all__ = ["TritonBackend"]

_CANARY: Final = (Note(note_id="canary", text="Canary."),)
_PRIORITY_LEVELS: Final = {Priority.INTERACTIVE: 1, Priority.BULK: 2}
_MAX_MESSAGE_BYTES: Final = 64 * 2**20
# A server that comes back must be found within a second: gRPC alone waits up to two minutes.
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A proxy that the environment names for the web must see no notes.
    ("grpc.enable_http_proxy", 0),
    # Channels of one process share connections by default; a fresh one must not inherit a dead one's back-off.
    ("grpc.use_local_subchannel_pool", 1),
)


class TritonBackend:
    """One version of the model behind a Triton's gRPC endpoint, over one long-lived channel."""

    def __init__(
        self,
        url: str,
        *,
        version: int,
        labels: Sequence[Label],
        bundle_sha256: str,
        model_name: str = MODEL_NAME,
        tls: TritonTls | None = None,
    ) -> None:
        """Describe the endpoint; the channel opens with the first call, in that call's event loop.

        Args:
            url: ``host:port`` of the gRPC endpoint.
            version: The version's number in the model repository.
            labels: The bundle's labels (``clinical_coding.bundle.read_labels``), in its order.
            bundle_sha256: What names the bundle that must answer (``clinical_coding.bundle.read_bundle``).
            model_name: The model's name in the repository.
            tls: Of the channel; in the clear when None.
        """
        self.url = url
        self.version = version
        self.model_name = model_name
        self._tls = tls
        self._labels = tuple(labels)
        self._bundle_digest = bytes.fromhex(bundle_sha256)
        self._client: Any = None

    async def score(
        self, notes: Sequence[Note], *, timeout_seconds: float, priority: Priority = Priority.INTERACTIVE
    ) -> ScoredCodes:
        """Score the notes of one encounter; see ``serving.backends.Backend.score``."""
        if timeout_seconds <= 0:
            raise DeadlineExceededError(f"no time is left to ask Triton at {self.url}")
        asked_at = time.monotonic()
        with self._described():
            result = await self._connected().infer(
                self.model_name,
                [_encode(notes)],
                model_version=str(self.version),
                client_timeout=timeout_seconds,
                priority=_PRIORITY_LEVELS[priority],
                parameters={BULK: priority is Priority.BULK},
                headers=traceparent(),
            )
        waited_seconds = time.monotonic() - asked_at
        try:
            return ScoredCodes(self._decode(result, notes=notes), _timings(result, waited_seconds=waited_seconds))
        except (IndexError, KeyError, ValueError) as error:
            # A tensor of another shape, an unknown label, a span outside of its note.
            raise BackendUnavailableError(
                f"{self.model_name}/{self.version} at {self.url} gave an answer that cannot be read "
                f"({type(error).__name__}); publish this version to that server"
            ) from None

    async def check(self, *, timeout_seconds: float) -> None:
        """Score a canary: the one proof that a model answers, since Triton calls a dead one ready.

        Args:
            timeout_seconds: How long to wait.

        Raises:
            BackendError: As ``score`` does.
        """
        await self.score(_CANARY, timeout_seconds=timeout_seconds)

    async def server_id(self, *, timeout_seconds: float) -> str:
        """The ``--id`` of the server that answers at this address, which need not be the one expected.

        Args:
            timeout_seconds: How long to wait.

        Raises:
            BackendError: Nobody answers.
        """
        with self._described():
            metadata = await self._connected().get_server_metadata(client_timeout=timeout_seconds)
        return str(metadata.name)

    async def num_answers(self, *, timeout_seconds: float) -> int:
        """How many requests all loaded versions have answered: a busy server's sign of life.

        Args:
            timeout_seconds: How long to wait.

        Raises:
            BackendError: Nobody answers.
        """
        with self._described():
            statistics = await self._connected().get_inference_statistics(
                self.model_name, client_timeout=timeout_seconds
            )
        return sum(version.inference_stats.success.count for version in statistics.model_stats)

    async def close(self) -> None:
        """Close the channel; a later call opens a new one."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _connected(self) -> Any:
        if self._client is None:
            self._client = connect(self.url, tls=self._tls, options=_CHANNEL_OPTIONS)
        return self._client

    @contextmanager
    def _described(self) -> Iterator[None]:
        """Turn the client's failures into ours."""
        try:
            yield
        except InferenceServerException as error:
            raise self._describe(error.status(), error.message()) from None
        except asyncio.CancelledError:
            # gRPC ends the calls of a channel that is closed as if their task had been cancelled.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise BackendUnavailableError(
                f"{self.model_name}/{self.version} at {self.url} cannot answer: the channel was closed"
            ) from None

    def _describe(self, status: str, message: str) -> BackendError:
        """Turn what gRPC reports into what the gateway acts on."""
        code = status.removeprefix("StatusCode.")
        if code == "UNAVAILABLE" and "maximum queue size" in message:
            return QueueFullError(f"the queue of {self.model_name} at {self.url} is full")
        if code == "DEADLINE_EXCEEDED":
            return DeadlineExceededError(f"Triton at {self.url} did not answer in time")
        if code == "INVALID_ARGUMENT":
            return InvalidInputError("Triton refused the notes: they are not a list of texts with distinct note_id")
        if code == "INTERNAL" and SCORING_FAILED in message:
            return RequestFailedError(f"{self.model_name}/{self.version} at {self.url} failed at these notes")
        return BackendUnavailableError(f"{self.model_name}/{self.version} at {self.url} cannot answer: {code}")

    def _decode(self, result: Any, *, notes: Sequence[Note]) -> tuple[PredictedCode, ...]:
        index_K, confidence_K, suggested_K, evidence_E4, digest = (
            _tensor(result, name) for name in (CODE_INDEX, CONFIDENCE, SUGGESTED, EVIDENCE, BUNDLE_SHA256)
        )
        if digest.tobytes() != self._bundle_digest:
            raise BackendUnavailableError(
                f"{self.model_name}/{self.version} at {self.url} answers from another bundle than "
                f"{self._bundle_digest.hex()[:12]}; publish this version to that server"
            )
        spans: dict[int, list[EvidenceSpan]] = {}
        for rank, note_index, start, end in evidence_E4.tolist():
            spans.setdefault(rank, []).append(EvidenceSpan(note_id=notes[note_index].note_id, start=start, end=end))
        ranked = zip(index_K.tolist(), confidence_K.tolist(), suggested_K.tolist(), strict=True)
        return tuple(
            PredictedCode(
                system=self._labels[index].system,
                code=self._labels[index].code,
                confidence=confidence,
                suggested=suggested,
                evidence=tuple(spans.get(rank, ())),
            )
            for rank, (index, confidence, suggested) in enumerate(ranked)
        )


def _encode(notes: Sequence[Note]) -> Any:
    """Write the notes as the model's one input, with the batch dimension of one request."""
    text = json.dumps([{"note_id": note.note_id, "text": note.text} for note in notes], ensure_ascii=False)
    tensor = InferInput(NOTES, [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text.encode()]], dtype=np.object_))
    return tensor


def _tensor(result: Any, name: str) -> np.ndarray[Any, Any]:
    """One output of the answer, without its batch dimension."""
    tensor: np.ndarray[Any, Any] | None = result.as_numpy(name)
    if tensor is None:
        raise BackendUnavailableError(f"Triton's answer has no output {name}; publish this version to that server")
    without_batch: np.ndarray[Any, Any] = tensor[0]
    return without_batch


def _timings(result: Any, *, waited_seconds: float) -> Timings:
    """What the model tells of its time; the rest is the way there and back, and the queue."""
    read, scored, num_requests, batch_tokens, num_computed, num_tokens = _tensor(result, TIMINGS).tolist()
    return Timings(
        queued_seconds=max(waited_seconds - read - scored, 0.0),
        read_seconds=read,
        scored_seconds=scored,
        batch_requests=int(num_requests),
        batch_tokens=int(batch_tokens),
        padded_tokens=int(num_computed),
        num_tokens=int(num_tokens),
    )
