"""A file on disk becomes suggestion requests: JSON as the gateway takes it, coded records, or plain text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clinical_coding.artefact import describe_errors
from clinical_coding.suggestions import SuggestionRequest

__all__ = ["read_request", "read_requests"]

_OF_A_REQUEST = ("record_id", "patient_id", "encounter", "notes")


def read_request(path: Path, *, setting: str, specialty: str) -> SuggestionRequest:
    """Read a request.

    Args:
        path: JSON when its first character is a brace: a request, or a coded record, whose codes are not sent.
            Anything else is one note in plain text.
        setting: Of a plain-text note.
        specialty: Likewise.

    Raises:
        ValueError: The file is missing, not UTF-8, or a field is wrong; the message names it, never its text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"file {path} cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"file {path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    if text.lstrip().startswith("{"):
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"file {path} is not valid JSON at line {error.lineno}; check quotes and commas") from None
        values = _of_a_request(fields)
    else:
        note = {"note_id": path.name, "text": text}
        encounter = {"setting": setting, "specialty": specialty}
        values = {"record_id": path.stem, "encounter": encounter, "notes": [note]}
    try:
        return SuggestionRequest.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"file {path}: {describe_errors(error)}") from None


def read_requests(path: Path) -> Iterator[SuggestionRequest]:
    """Read requests as they are asked for, one a line; an empty line is passed over.

    Args:
        path: JSON Lines of requests, or of coded records, whose codes are not sent.

    Raises:
        ValueError: The file is missing, not UTF-8, or a line is no request; the message names it, never its text.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _read_line(line, place=f"file {path}, line {number}")
    except OSError as error:
        raise ValueError(f"file {path} cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise ValueError(f"file {path} is not UTF-8; save it as UTF-8") from None


def _read_line(line: str, *, place: str) -> SuggestionRequest:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError:
        raise ValueError(f"{place} is not valid JSON; check quotes and commas") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{place} is no JSON object; write one request a line")
    try:
        return SuggestionRequest.model_validate(_of_a_request(fields))
    except ValidationError as error:
        raise ValueError(f"{place}: {describe_errors(error)}") from None


def _of_a_request(fields: dict[str, Any]) -> dict[str, Any]:
    is_record = "codes" in fields or "schema_version" in fields
    return {name: fields[name] for name in fields if name in _OF_A_REQUEST or not is_record}
