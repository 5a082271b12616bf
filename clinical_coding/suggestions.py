"""A suggestion as the gateway answers it, and the request it answers (stage 7)."""

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from clinical_coding.artefact import Artefact
from clinical_coding.codes import CodeSystem, EvidenceSpan
from clinical_coding.findings import Finding
from clinical_coding.grouping.groupings import Grouping
from clinical_coding.physician_queries import PhysicianQuery
from clinical_coding.records import SCHEMA_VERSION, Encounter, Identifier, Note

__all__ = [
    "PRE_CODING_RULE",
    "Alternative",
    "Latency",
    "Route",
    "RouteDecision",
    "SuggestedCode",
    "Suggestion",
    "SuggestionEvidence",
    "SuggestionRequest",
    "VersionName",
]

PRE_CODING_RULE: Final = "pre-coding-check"
"""Stands in the place of a route's rules where only the documentation was checked, and no codes are kept."""

Confidence = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0)]


class SuggestionRequest(Artefact):
    """What a coding client sends to ``POST /v1/suggestions``."""

    record_id: Identifier
    patient_id: Identifier | None = None
    encounter: Encounter
    notes: Annotated[tuple[Note, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct_notes(self) -> Self:
        if len({note.note_id for note in self.notes}) != len(self.notes):
            raise ValueError("notes must have distinct note_id values")
        return self


class RouteDecision(StrEnum):
    """Who codes the encounter: the model, a coder with it, or a coder without it."""

    AUTONOMOUS = "autonomous"
    ASSISTED = "assisted"
    MANUAL = "manual"


class Route(Artefact):
    """The route, the rules that led to it, and the confidence in the record as a whole."""

    decision: RouteDecision
    rules: tuple[str, ...]
    record_confidence: Confidence


class VersionName(Artefact):
    """Which model answered."""

    name: str
    number: int | None
    """Registered version number; null when a bundle is served from its path."""
    alias: str | None
    bundle_sha256: str


class SuggestionEvidence(EvidenceSpan):
    """An evidence span with the words it covers."""

    text: str


class Alternative(Artefact):
    """A code that was considered in the place of the suggested one."""

    system: CodeSystem
    code: str
    description: str | None
    confidence: Confidence


class SuggestedCode(Artefact):
    """One suggested code."""

    system: CodeSystem
    code: str
    description: str | None
    """Official title for ICD-10-CM; elsewhere our own words, never the licensed descriptor (CPT), or null."""
    confidence: Confidence
    rank: Annotated[int, Field(ge=1)]
    evidence: tuple[SuggestionEvidence, ...]
    alternatives: tuple[Alternative, ...]


class Latency(Artefact):
    """Where the time of an answer went, in milliseconds; storing it, which comes last, is not included."""

    admitted_ms: Milliseconds
    """From the first byte of the request until its work began."""
    queued_ms: Milliseconds
    """Waiting for a batch of the model; 0 where the model does not tell."""
    model_ms: Milliseconds
    """From asking the model to its answer, without the waiting for a batch."""
    review_ms: Milliseconds
    """Coding rules, queries, route and evidence text, after the model's answer."""
    total_ms: Milliseconds
    """From the first byte of the request until the suggestion was made."""


class Suggestion(Artefact):
    """The answer to a suggestion request."""

    schema_version: Literal[1] = SCHEMA_VERSION
    suggestion_id: str
    version: VersionName
    route: Route
    degraded: bool
    """True when the fallback answered in the place of Triton."""
    codes: tuple[SuggestedCode, ...]
    findings: tuple[Finding, ...] = ()
    """What coding rules say of the codes, and which codes the documentation does not support."""
    queries: tuple[PhysicianQuery, ...] = ()
    """What the documentation leaves open, drafted for the physician."""
    grouping: Grouping | None = None
    """The working DRG of an inpatient stay; null elsewhere, and where no note names a final diagnosis."""
    trace_id: str
    latency: Latency | None = None
    """Null in suggestions that were made before it was measured."""
