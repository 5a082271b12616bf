"""The requests of a job, read and checked before any of them is kept (stage 7)."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from ledger.jobs import NewItem
from serving.gateway.line_answering import read_request
from serving.gateway.ndjson import Line
from serving.gateway.problems import MAX_ERRORS, FieldError, ProblemError
from serving.gateway.settings import GatewaySettings

__all__ = ["Submission", "read_submission"]


@dataclass(frozen=True, slots=True)
class Submission:
    """What is to be kept."""

    items: tuple[NewItem, ...]
    sha256: str
    """Of the body."""


def read_submission(content: bytes, *, is_lines: bool, settings: GatewaySettings) -> Submission:
    """Read a body; blocks for as long as its size asks.

    Args:
        content: The body.
        is_lines: Whether each line is a request; else the body is a list of them.
        settings: Limits.

    Raises:
        ProblemError: A request is wrong, told with its line, or there are none, or too many.
    """
    items: list[NewItem] = []
    errors: list[FieldError] = []
    for line in _lines(content) if is_lines else _entries(content):
        if len(items) == settings.jobs.max_items:
            raise ProblemError("too-large", f"the job holds more than {settings.jobs.max_items:,} requests")
        try:
            asked = read_request(line, max_bytes=settings.max_body_bytes)
            num_characters = sum(len(note.text) for note in asked.notes)
            if num_characters > settings.max_note_characters:
                most = settings.max_note_characters
                raise ProblemError(
                    "too-large", f"the notes hold {num_characters:,} characters; at most {most:,} are read"
                )
        except ProblemError as error:
            errors += _at_line(error, line=line.number)
            if len(errors) >= MAX_ERRORS:
                break
            continue
        items.append(NewItem(line.number, asked.record_id, asked.model_dump_json(exclude_none=True)))
    if errors:
        shown = errors[:MAX_ERRORS]
        detail = "; ".join(f"{error.field}: {error.message}" for error in shown)
        raise ProblemError("invalid-request", f"nothing was kept: {detail}", errors=shown)
    if not items:
        raise ProblemError("invalid-request", "the job holds no request")
    return Submission(tuple(items), hashlib.sha256(content).hexdigest())


def _lines(content: bytes) -> Iterator[Line]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield Line(number, line)


def _entries(content: bytes) -> Iterator[Line]:
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError):
        raise ProblemError("malformed-body", "the body cannot be read as JSON") from None
    if not isinstance(entries, list):
        raise ProblemError("invalid-request", "the body is no list of requests")
    for number, entry in enumerate(entries, start=1):
        yield Line(number, json.dumps(entry).encode())


def _at_line(error: ProblemError, *, line: int) -> list[FieldError]:
    place = f"line {line}"
    if not error.errors:
        return [FieldError(field=place, message=error.detail)]
    return [FieldError(field=f"{place}: {one.field}", message=one.message) for one in error.errors]
