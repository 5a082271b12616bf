"""One line of a stream is answered: read, made in its turn, kept, written (stage 7).

Whatever is wrong with a line is told in its place, and touches no other. What may pass, such as a full
queue or a model server that restarts, is waited for.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from ledger.principals import Principal
from serving.backends import BackendError, BackendUnavailableError, Priority, QueueFullError
from serving.gateway.admission import Admission
from serving.gateway.answering import Answering
from serving.gateway.building import as_answered
from serving.gateway.ndjson import Line
from serving.gateway.problems import Problem, ProblemError, as_problem, describe_problem, describe_validation
from serving.gateway.settings import BulkSettings
from serving.gateway.suggesting import Suggester

__all__ = ["AnsweredLine", "LineAnswering", "StreamOrigin", "problem_of", "read_request"]

_RETRY_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StreamOrigin:
    """Whose lines they are."""

    principal: Principal
    trace_id: str
    key: str | None
    """Idempotency key of the stream; each line's has its number added."""


@dataclass(frozen=True, slots=True)
class AnsweredLine:
    """What became of a line."""

    number: int
    record_id: str | None
    suggestion: Suggestion | None
    """As it is answered; None where there is a problem."""
    problem: Problem | None


class LineAnswering:
    """Answers lines. All methods belong to one event loop."""

    def __init__(
        self, settings: BulkSettings, *, suggester: Suggester, answering: Answering, admission: Admission
    ) -> None:
        self._settings = settings
        self._suggester = suggester
        self._answering = answering
        self._admission = admission

    async def answer(self, line: Line, *, origin: StreamOrigin) -> AnsweredLine:
        """Answer a line; never raises but when it is cancelled."""
        record_id = None
        try:
            asked = read_request(line, max_bytes=self._settings.max_line_bytes)
            record_id = asked.record_id
            suggestion = await self._answer(asked, number=line.number, origin=origin)
        except Exception as error:
            problem = problem_of(error, trace_id=origin.trace_id)
            return AnsweredLine(line.number, record_id, None, problem)
        return AnsweredLine(line.number, record_id, suggestion, None)

    async def _answer(self, asked: SuggestionRequest, *, number: int, origin: StreamOrigin) -> Suggestion:
        num_attempts = 0
        while True:
            try:
                answer = await self._answering.answer(
                    asked,
                    principal=origin.principal,
                    make=partial(self._make, asked, trace_id=origin.trace_id),
                    key=None if origin.key is None else f"{origin.key}:{number}",
                )
            except (QueueFullError, ProblemError) as error:
                if isinstance(error, ProblemError) and error.kind != "queue-full":
                    raise
            except BackendUnavailableError:
                num_attempts += 1
                if num_attempts == self._settings.max_attempts:
                    raise
            else:
                if not answer.is_repeated:
                    self._suggester.count(answer.suggestion)
                return as_answered(answer.suggestion)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _make(self, asked: SuggestionRequest, *, trace_id: str) -> Suggestion:
        await self._admission.wait_for_room()
        give_up_at = time.monotonic() + self._settings.line_deadline_seconds
        return await self._suggester.make(asked, trace_id=trace_id, priority=Priority.BULK, give_up_at=give_up_at)


def read_request(line: Line, *, max_bytes: int) -> SuggestionRequest:
    """Read the request on a line.

    Raises:
        ProblemError: It is too long, or no request.
    """
    if line.content is None:
        raise ProblemError("too-large", f"the line holds more than {max_bytes:,} bytes")
    try:
        return SuggestionRequest.model_validate_json(line.content)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise describe_validation([dict(detail) for detail in details]) from None


def problem_of(error: Exception, *, trace_id: str) -> Problem:
    """Say what was wrong with a request that has no answer of its own to say it with."""
    if isinstance(error, ProblemError | BackendError | SQLAlchemyError):
        told = as_problem(error, retry_after_seconds=_RETRY_SECONDS)
    else:
        _log.error("line-failed", error=type(error).__name__, trace_id=trace_id)
        told = ProblemError("internal", f"an unexpected {type(error).__name__}")
    return describe_problem(told, trace_id=trace_id)
