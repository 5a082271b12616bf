"""Files of coded encounters, as the commands that judge and group their codes read them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clinical_coding.artefact import describe_errors
from clinical_coding.codes import Code
from clinical_coding.records import Encounter, Note

__all__ = ["CodedEncounter", "read_encounters"]


class CodedEncounter(BaseModel):
    """What is read of a file: a coded record, or anything else that has an encounter and codes.

    Unlike a coded record it may hold a code twice, since that is something to find.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    record_id: str | None = None
    encounter: Encounter
    codes: tuple[Code, ...] = Field(min_length=1)
    notes: tuple[Note, ...] = ()

    @model_validator(mode="after")
    def _evidence_lies_in_notes(self) -> Self:
        lengths = {note.note_id: len(note.text) for note in self.notes}
        for code in self.codes:
            for span in code.evidence:
                if lengths and span.end > lengths.get(span.note_id, -1):
                    raise ValueError(
                        f"evidence [{span.start}, {span.end}) of code {code.code} is not in a note {span.note_id!r}; "
                        "correct the offsets, or leave evidence or notes out"
                    )
        return self


def read_encounters(file: Path) -> Iterator[CodedEncounter]:
    """Read one JSON document, or one a line.

    Raises:
        ValueError: The file is not UTF-8 JSON, or has no encounter and codes; file and line are named.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text; convert it with iconv -t UTF-8") from None
    documents = list(_documents(text))
    if not documents:
        raise ValueError(f"{file} is empty; give JSON with encounter and codes, such as one coded record")
    for number, document in documents:
        try:
            yield CodedEncounter.model_validate_json(document)
        except ValidationError as error:
            raise ValueError(f"{file}, line {number}: {describe_errors(error)}") from None


def _documents(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines, which also splits at separators that may stand within a JSON string.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if lines and (len(lines) == 1 or _is_json(lines[0][1])):
        yield from lines
    elif lines:
        # One document over several lines; what is wrong with it is told with its own place.
        yield lines[0][0], text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
