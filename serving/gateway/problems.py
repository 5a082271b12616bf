"""Every error that the gateway answers, as problem+json (RFC 9457).

A problem says what was wrong and what to do about it; it never repeats what the client sent,
which may be clinical text. FastAPI's own answer to a bad body does repeat it, and is replaced.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from feedback.errors import FeedbackError
from serving.backends import (
    BackendError,
    BackendUnavailableError,
    DeadlineExceededError,
    InvalidInputError,
    QueueFullError,
    RequestFailedError,
)
from serving.gateway.exchange import exchange_of

__all__ = [
    "KINDS",
    "MAX_ERRORS",
    "FieldError",
    "Problem",
    "ProblemError",
    "add_problem_handlers",
    "as_problem",
    "describe_problem",
    "describe_validation",
    "problem_response",
    "retry_after",
]

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:chartloop:problem:"
MAX_ERRORS: Final = 20


class FieldError(BaseModel):
    """One field of the request that is wrong."""

    model_config = ConfigDict(frozen=True)

    field: str
    """Where: ``notes.0.text``; ``*`` stands for a name that this interface does not know."""
    message: str


class Problem(BaseModel):
    """The body of every error (RFC 9457)."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    type: str
    """Stable name of the kind of problem: ``urn:chartloop:problem:queue-full``."""
    title: str
    status: int
    detail: str
    remedy: str
    """What to do about it."""
    trace_id: str | None
    """Names the request in the gateway's log."""
    errors: tuple[FieldError, ...] = ()


class _Kind(BaseModel):
    model_config = ConfigDict(frozen=True)

    status: int
    title: str
    remedy: str


def _kind(status: int, title: str, remedy: str) -> _Kind:
    return _Kind(status=status, title=title, remedy=remedy)


KINDS: Final[Mapping[str, _Kind]] = {
    "malformed-body": _kind(400, "The body is not JSON", "Send one JSON object in UTF-8."),
    "no-key": _kind(401, "No key was given", "Send the header Authorization: Bearer KEY."),
    "wrong-key": _kind(401, "The key is unknown or revoked", "Ask an administrator for a new key."),
    "wrong-token": _kind(401, "The token is not taken", "Ask your identity provider for a new one."),
    "wrong-scope": _kind(403, "The key is not for this", "Use a key that has the scope named."),
    "rate-limited": _kind(429, "Too many requests in a minute", "Wait as Retry-After says, then send it again."),
    "wrong-role": _kind(403, "The key's role may not do this", "Use a key of one of the roles named."),
    "forbidden": _kind(403, "This principal may not do this", "Use a key of a role that may."),
    "unknown-id": _kind(404, "Nothing is stored under this id", "Send an id that an answer told."),
    "not-found": _kind(404, "There is nothing at this path", "See /docs for the paths."),
    "wrong-method": _kind(405, "The path does not take this method", "See /docs for the methods."),
    "slow-body": _kind(408, "The body did not arrive in time", "Send it again, over a better connection."),
    "key-reused": _kind(
        409, "The Idempotency-Key was used for another request", "Use a new key for each request; keep it for retries."
    ),
    "conflict": _kind(409, "It was said before, and differently", "Read back what is stored, and decide anew."),
    "claim-lost": _kind(409, "The case is not claimed by this principal", "Claim the case again, then judge it."),
    "purged": _kind(410, "The content was purged", "Ask for a new suggestion."),
    "prefetch-missing": _kind(
        412, "What the service needs did not come along", "Send the prefetch that the discovery endpoint names."
    ),
    "too-large": _kind(413, "The request is too large", "Send only the notes of this encounter, or fewer at a time."),
    "wrong-media-type": _kind(
        415, "The body is not declared as this path takes it", "Send the Content-Type that the path takes; see /docs."
    ),
    "stream-ended": _kind(
        413, "The stream lasted too long", "Send the lines that were not answered again, as a new stream."
    ),
    "invalid-request": _kind(422, "The request does not have the expected fields", "Correct the fields named."),
    "invalid-feedback": _kind(422, "The feedback contradicts what is stored", "Correct the field named."),
    "invalid-notes": _kind(422, "The notes cannot be scored", "Check that each note is plain text."),
    "queue-full": _kind(429, "Too many requests are waiting", "Wait as Retry-After says, then send it again."),
    "client-left": _kind(499, "The client left before the answer", "Wait for the answer, or send it again."),
    "internal": _kind(500, "The gateway failed", "Report the trace_id to the people who run it."),
    "scoring-failed": _kind(
        500, "Scoring these notes failed", "Code this record by hand, and report the trace_id to the people who run it."
    ),
    "unavailable": _kind(503, "No model can answer now", "Wait as Retry-After says, then send it again."),
    "no-database": _kind(503, "The database does not answer", "Wait as Retry-After says, then send it again."),
    "no-issuer": _kind(503, "The identity provider does not answer", "Wait as Retry-After says, then send it again."),
    "deadline": _kind(504, "The model did not answer in time", "Send fewer characters, or send it again later."),
}
_BY_STATUS: Final = {400: "malformed-body", 404: "not-found", 405: "wrong-method", 415: "wrong-media-type"}


class ProblemError(Exception):
    """An error that is answered as a problem."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        """Describe the problem.

        Args:
            kind: A key of ``KINDS``.
            detail: What was wrong this time; never what the client sent.
            headers: More headers of the answer.
            errors: The wrong fields.
        """
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = tuple(errors)


def describe_problem(error: ProblemError, *, trace_id: str | None) -> Problem:
    """Put an error into the words of its kind."""
    kind = KINDS[error.kind]
    return Problem(
        type=TYPE_PREFIX + error.kind,
        title=kind.title,
        status=kind.status,
        detail=error.detail,
        remedy=kind.remedy,
        trace_id=trace_id,
        errors=error.errors,
    )


class _ProblemResponse(Response):
    """Tells the exchange what it says, for metrics and traces."""

    def __init__(self, kind: str, body: str, *, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange_of(scope).problem = self._kind
        await super().__call__(scope, receive, send)


def problem_response(error: ProblemError, *, trace_id: str | None) -> Response:
    """Write the answer."""
    problem = describe_problem(error, trace_id=trace_id)
    body = problem.model_dump_json(exclude_defaults=True)
    return _ProblemResponse(error.kind, body, status=problem.status, headers=error.headers)


def add_problem_handlers(app: FastAPI, *, retry_after_seconds: float) -> None:
    """Answer what the application raises as problems.

    Args:
        app: The application.
        retry_after_seconds: When to come back after a 503.
    """

    async def answer(request: Request, error: Exception) -> Response:
        problem = as_problem(error, retry_after_seconds=retry_after_seconds)
        return problem_response(problem, trace_id=exchange_of(request.scope).trace_id)

    for kind in (ProblemError, BackendError, FeedbackError, RequestValidationError, HTTPException, SQLAlchemyError):
        app.add_exception_handler(kind, answer)


def as_problem(error: Exception, *, retry_after_seconds: float) -> ProblemError:
    """Turn any failure of an endpoint into a problem.

    Args:
        error: What was raised.
        retry_after_seconds: When to come back after a 503.
    """
    match error:
        case ProblemError():
            return error
        case RequestValidationError():
            return describe_validation(error.errors())
        case FeedbackError():
            return ProblemError(error.kind, str(error))
        case HTTPException():
            return _describe_http(error)
        case QueueFullError():
            return ProblemError("queue-full", str(error), headers=retry_after(error.retry_after_seconds))
        case DeadlineExceededError():
            return ProblemError("deadline", str(error))
        case InvalidInputError():
            return ProblemError("invalid-notes", str(error))
        case RequestFailedError():
            return ProblemError("scoring-failed", str(error))
        case BackendUnavailableError():
            return ProblemError("unavailable", str(error), headers=retry_after(retry_after_seconds))
    detail = "the database does not answer"
    return ProblemError("no-database", detail, headers=retry_after(retry_after_seconds))


def retry_after(seconds: float) -> dict[str, str]:
    """The Retry-After header, in whole seconds, at least one."""
    return {"Retry-After": str(max(1, -int(-seconds // 1)))}


def _describe_http(error: HTTPException) -> ProblemError:
    kind = _BY_STATUS.get(error.status_code, "internal")
    # The detail may quote the request, so only ours is told.
    return ProblemError(kind, KINDS[kind].title.lower(), headers=error.headers)


def describe_validation(details: Iterable[Mapping[str, Any]]) -> ProblemError:
    """Say which fields are wrong, without repeating what the client sent.

    Args:
        details: Of pydantic.
    """
    errors = []
    for detail in details:
        if detail["type"] == "json_invalid":
            return ProblemError("malformed-body", "the body cannot be read as JSON")
        location = [str(part) for part in detail["loc"] if part != "body"]
        if detail["type"] == "extra_forbidden":
            # The name of a field that we do not know is the client's text, like any value.
            location[-1] = "*"
        message = str(detail["msg"]).removeprefix("Value error, ")
        errors.append(FieldError(field=".".join(location) or "body", message=message))
    # A body of a megabyte may hold some hundred thousand errors.
    shown = errors[:MAX_ERRORS]
    clauses = "; ".join(f"{error.field}: {error.message}" for error in shown)
    if len(errors) > MAX_ERRORS:
        clauses += f"; these are the first {MAX_ERRORS} of {len(errors):,} errors"
    return ProblemError("invalid-request", clauses, errors=shown)
