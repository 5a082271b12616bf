"""What the gateway asks for scored codes: one protocol, whoever answers it (between stages 6 and 7).

Triton, the fallback worker and a test's stand-in all look the same from here. This module
knows nothing of tokens, labels or transport, and imports nothing heavy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Note

__all__ = [
    "Backend",
    "BackendError",
    "BackendUnavailableError",
    "DeadlineExceededError",
    "InvalidInputError",
    "Priority",
    "QueueFullError",
    "RequestFailedError",
    "ScoredCodes",
    "Timings",
]


class BackendError(Exception):
    """Base of what a backend may raise; messages never hold clinical text.

    ::

        BackendError
        ├── BackendUnavailableError   not running, not loaded, died: ask another backend
        ├── QueueFullError            running, and too busy: come back later
        ├── DeadlineExceededError     did not answer in time
        ├── RequestFailedError        failed at these notes, and answers others: ask another backend
        └── InvalidInputError         the notes cannot be scored by any backend
    """


class BackendUnavailableError(BackendError):
    """The backend cannot answer now; another one may."""


class QueueFullError(BackendError):
    """The backend has as much work waiting as it accepts."""

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceededError(BackendError):
    """The answer did not come within the time that the caller gave."""


class RequestFailedError(BackendError):
    """Scoring these notes failed; the backend itself is well."""


class InvalidInputError(BackendError):
    """The notes were refused by the model; the same request will be refused again."""


class Priority(StrEnum):
    """Who goes first where requests wait."""

    INTERACTIVE = "interactive"
    """Somebody looks at a screen."""
    BULK = "bulk"
    """Nobody does."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one request went inside the model's process, and what was computed with it.

    Its batch is what went through the encoder together.
    """

    queued_seconds: float
    """It waited for its batch; 0 where that is not known."""
    read_seconds: float
    """It and what came before it were tokenised, cut into windows and matched with terms."""
    scored_seconds: float
    """Its batch went through encoder and label attention."""
    batch_requests: int
    batch_tokens: int
    """Tokens of the batch, without padding."""
    padded_tokens: int
    """Tokens that were computed for the batch, padding included."""
    num_tokens: int | None = None
    """Tokens of the request's own notes, the encoder's special ones left out; None where that is not known."""


@dataclass(frozen=True, slots=True)
class ScoredCodes:
    """What a backend answers."""

    codes: tuple[PredictedCode, ...]
    """Up to 100 by falling confidence; the suggested ones carry evidence."""
    timings: Timings | None = None
    """None where the backend does not tell."""


class Backend(Protocol):
    """Anything that turns the notes of one encounter into ranked codes."""

    async def score(
        self, notes: Sequence[Note], *, timeout_seconds: float, priority: Priority = Priority.INTERACTIVE
    ) -> ScoredCodes:
        """Score the notes of one encounter.

        Args:
            notes: The notes, read together as one document.
            timeout_seconds: How long the caller waits.
            priority: Whether others may go first.

        Raises:
            BackendUnavailableError: Nobody is there to answer.
            QueueFullError: Too much work is waiting.
            DeadlineExceededError: The time ran out.
            RequestFailedError: Scoring these notes failed.
            InvalidInputError: The notes cannot be scored.
        """
        ...
