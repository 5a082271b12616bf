"""Suggestions as they were made, with the notes they rest on (the end of stage 7).

What identifies a suggestion is kept for good; its content, which is clinical text, lies in a table
of its own that a retention policy may empty without touching the rest: the hash stays and proves
what is kept elsewhere. On the manual route the codes, which the coder never sees, are stored too.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Column, Connection, Date, ForeignKey, Index, Integer, String, Table, Text, insert, select

from clinical_coding.artefact import sha256_of_json
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from ledger.audit_log import append
from ledger.engine import UtcDateTime, metadata
from ledger.principals import Principal

__all__ = ["StoredSuggestion", "load", "store", "suggestion_contents", "suggestions"]

suggestions: Final = Table(
    "suggestions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("principal_id", String(36), ForeignKey("principals.id"), nullable=False),
    Column("stored_at", UtcDateTime, nullable=False),
    Column("record_id", String(128), nullable=False, index=True),
    Column("patient_id", String(128), nullable=True),
    Column("specialty", String(128), nullable=False),
    Column("setting", String(32), nullable=False),
    Column("payer", Text, nullable=True),
    Column("complexity", String(16), nullable=True),
    Column("service_start", Date, nullable=True),
    Column("route", String(16), nullable=False),
    Column("version_number", Integer, nullable=True),
    Column("bundle_sha256", String(64), nullable=False),
    Column("content_sha256", String(64), nullable=False),
    Index("ix_suggestions_specialty_stored_at", "specialty", "stored_at"),
)

suggestion_contents: Final = Table(
    "suggestion_contents",
    metadata,
    Column("suggestion_id", String(36), ForeignKey("suggestions.id"), primary_key=True),
    Column("request", Text, nullable=False),
    Column("suggestion", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class StoredSuggestion:
    """A suggestion and what it was asked for."""

    suggestion_id: str
    principal_id: str
    stored_at: datetime
    route: str
    bundle_sha256: str
    content_sha256: str
    request: SuggestionRequest | None
    """Null when its content was purged."""
    suggestion: Suggestion | None
    """Every suggested code, those included that the manual route withheld; null when purged."""


def store(connection: Connection, request: SuggestionRequest, suggestion: Suggestion, *, principal: Principal) -> None:
    """Keep a suggestion before it is answered.

    Args:
        connection: Inside ``ledger.group_commit.write``.
        request: What was asked.
        suggestion: The whole answer, codes included on every route.
        principal: Who asked.
    """
    asked, answered = request.model_dump_json(), suggestion.model_dump_json()
    content_sha256 = sha256_of_json([asked, answered])
    encounter = request.encounter
    connection.execute(
        insert(suggestions).values(
            id=suggestion.suggestion_id,
            principal_id=principal.id,
            stored_at=datetime.now(UTC),
            record_id=request.record_id,
            patient_id=request.patient_id,
            specialty=encounter.specialty,
            setting=encounter.setting.value,
            payer=encounter.payer,
            complexity=encounter.complexity.value if encounter.complexity else None,
            service_start=encounter.service_start,
            route=suggestion.route.decision.value,
            version_number=suggestion.version.number,
            bundle_sha256=suggestion.version.bundle_sha256,
            content_sha256=content_sha256,
        )
    )
    connection.execute(
        insert(suggestion_contents).values(suggestion_id=suggestion.suggestion_id, request=asked, suggestion=answered)
    )
    append(
        connection,
        principal=principal,
        action="suggestion-made",
        subject=f"suggestion:{suggestion.suggestion_id}",
        details={
            "content_sha256": content_sha256,
            "bundle_sha256": suggestion.version.bundle_sha256,
            "route": suggestion.route.decision.value,
            "num_codes": len(suggestion.codes),
        },
    )


def load(connection: Connection, suggestion_id: str) -> StoredSuggestion:
    """Find a suggestion.

    Raises:
        LookupError: None is stored under this id.
    """
    row = connection.execute(
        select(suggestions, suggestion_contents.c.request, suggestion_contents.c.suggestion)
        .outerjoin(suggestion_contents, suggestion_contents.c.suggestion_id == suggestions.c.id)
        .where(suggestions.c.id == suggestion_id)
    ).one_or_none()
    if row is None:
        raise LookupError("no suggestion is stored under this id; send the suggestion_id of an answer")
    return StoredSuggestion(
        suggestion_id=row.id,
        principal_id=row.principal_id,
        stored_at=row.stored_at,
        route=row.route,
        bundle_sha256=row.bundle_sha256,
        content_sha256=row.content_sha256,
        request=SuggestionRequest.model_validate_json(row.request) if row.request is not None else None,
        suggestion=Suggestion.model_validate_json(row.suggestion) if row.suggestion is not None else None,
    )
