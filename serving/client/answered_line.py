"""What became of one request among many, as the gateway's streams of lines tell it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from clinical_coding.suggestions import Suggestion
from serving.client.errors import RequestRefusedError

__all__ = ["AnsweredLine", "read_answered"]


@dataclass(frozen=True, slots=True)
class AnsweredLine:
    """One request and its answer."""

    line: int
    """Its place among the requests, from 1."""
    record_id: str | None
    """None where the line was no request."""
    suggestion: Suggestion | None
    error: RequestRefusedError | None
    """Why there is no suggestion; not raised, for the other lines are answered all the same."""


def read_answered(lines: Iterable[str]) -> Iterator[AnsweredLine]:
    """Read lines; those that tell the progress are passed over."""
    for line in lines:
        told = json.loads(line) if line.strip() else {}
        if "line" in told:
            yield _answered(told)


def _answered(told: dict[str, Any]) -> AnsweredLine:
    suggestion, error = None, None
    if "suggestion" in told:
        suggestion = Suggestion.model_validate(told["suggestion"])
    elif "problem" in told:
        problem = told["problem"]
        error = RequestRefusedError(
            status=problem["status"],
            title=problem["title"],
            detail=problem["detail"],
            remedy=problem["remedy"],
            retry_after_seconds=None,
        )
    else:
        title, remedy = "The content was purged", "Ask for a new suggestion."
        detail = "the content of this suggestion was purged; its hash is kept"
        error = RequestRefusedError(status=410, title=title, detail=detail, remedy=remedy, retry_after_seconds=None)
    return AnsweredLine(told["line"], told.get("record_id"), suggestion, error)
