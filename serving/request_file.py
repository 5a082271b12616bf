"""A file on disk becomes a suggestion request: JSON as the gateway takes it, a coded record, or plain text."""

import json
from pathlib import Path

from pydantic import ValidationError

from clinical_coding.artefact import describe_errors
from clinical_coding.suggestions import SuggestionRequest

__all__ = ["read_request"]

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
        is_record = "codes" in fields or "schema_version" in fields
        values = {name: fields[name] for name in fields if name in _OF_A_REQUEST or not is_record}
    else:
        note = {"note_id": path.name, "text": text}
        encounter = {"setting": setting, "specialty": specialty}
        values = {"record_id": path.stem, "encounter": encounter, "notes": [note]}
    try:
        return SuggestionRequest.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"file {path}: {describe_errors(error)}") from None
