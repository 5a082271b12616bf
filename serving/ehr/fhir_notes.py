"""The text of DocumentReferences: notes, out of their attachments (before stage 7).

Only plain text is read, for evidence is told in offsets of what the EHR shows. It fetches nothing.
"""

import re
from collections.abc import Mapping
from typing import Final

from fhir.resources.R4B.attachment import Attachment
from fhir.resources.R4B.binary import Binary
from fhir.resources.R4B.codeableconcept import CodeableConcept
from fhir.resources.R4B.documentreference import DocumentReference

from clinical_coding.records import Note
from serving.gateway.problems import FieldError, ProblemError

__all__ = ["read_note", "refuse", "slug", "words_of"]

_MAX_CHARACTERS: Final = 128
_PLAIN: Final = "text/plain"
_CHARSETS: Final = ("utf-8", "us-ascii", "iso-8859-1", "windows-1252")
_RETRACTED: Final = ("superseded", "entered-in-error")


def refuse(field: str, message: str) -> ProblemError:
    """Say which element of a resource cannot be used; the message repeats nothing of the resource."""
    return ProblemError("invalid-request", f"{field}: {message}", errors=[FieldError(field=field, message=message)])


def slug(text: str) -> str:
    """Write a name as this product writes names: ``cardiology-service``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_MAX_CHARACTERS]


def words_of(concept: CodeableConcept | None) -> str | None:
    """The words of a concept, else its first code."""
    if concept is None:
        return None
    codings = concept.coding or []
    told = (concept.text, *(coding.display for coding in codings), *(coding.code for coding in codings))
    return next((words for words in told if words and slug(words)), None)


def read_note(document: DocumentReference, *, binaries: Mapping[str, Binary], field: str, number: int) -> Note | None:
    """Read the note of a document.

    Args:
        document: As it came.
        binaries: Contents that attachments name by URL, by ``Binary/ID`` and by full URL.
        field: Where the document is, for messages.
        number: Its place, for its name where it has no id.

    Returns:
        The note; None when the document was superseded or withdrawn.

    Raises:
        ProblemError: None of its contents is plain text that came along.
    """
    if document.status in _RETRACTED or document.docStatus == "entered-in-error":
        return None
    for content in document.content:
        found = _data(content.attachment, binaries=binaries)
        if found is None:
            continue
        media_type, data = found
        text = _decode(data, media_type=media_type, field=f"{field}.content")
        name = (document.id or f"document-{number}")[:_MAX_CHARACTERS]
        return Note(note_id=name, type=slug(words_of(document.type) or "note"), text=text)
    message = "has no attachment of type text/plain whose data came along; send its text in attachment.data (base64)"
    raise refuse(f"{field}.content", message)


def _data(attachment: Attachment, *, binaries: Mapping[str, Binary]) -> tuple[str, bytes] | None:
    media_type, data = attachment.contentType, attachment.data
    if data is None and attachment.url is not None:
        url = str(attachment.url)
        binary = binaries.get(url) or binaries.get("/".join(url.rstrip("/").split("/")[-2:]))
        if binary is not None:
            media_type, data = binary.contentType, binary.data
    if data is None or media_type is None or media_type.partition(";")[0].strip().lower() != _PLAIN:
        return None
    return media_type, data


def _decode(data: bytes, *, media_type: str, field: str) -> str:
    named = re.search(r"charset\s*=\s*\"?([A-Za-z0-9_.:-]+)", media_type)
    charset = named[1].lower() if named else _CHARSETS[0]
    if charset not in _CHARSETS:
        raise refuse(field, f"has an unknown charset; use one of {', '.join(_CHARSETS)}")
    try:
        text = data.decode(charset)
    except ValueError:
        raise refuse(field, f"holds data that is not text in {charset}; correct data or charset") from None
    if not text.strip():
        raise refuse(field, "holds no text; leave the document out")
    return text
