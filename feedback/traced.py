"""The shape of a trace: who decided what about one suggestion, ready to be sent and shown (stage 10).

Codes and reasons, no notes. ``trace`` fills it.
"""

from datetime import datetime
from typing import Literal

from clinical_coding.artefact import Artefact
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.decisions import CodeAction, CodeDecision, Verdict
from clinical_coding.suggestions import RouteDecision
from ledger.principals import Role

__all__ = [
    "Kind",
    "LogEntry",
    "Person",
    "Trace",
    "TracedAdjudication",
    "TracedCode",
    "TracedDecision",
    "TracedDraw",
    "TracedOverride",
    "TracedSuggestion",
]

Kind = Literal["training-record", "suggestion", "decision", "override", "audit-draw", "adjudication"]


class Person(Artefact):
    """Whose key it was."""

    principal_id: str
    name: str
    role: Role


class LogEntry(Artefact):
    """One entry of the audit log."""

    seq: int
    at: datetime
    action: str
    principal: str
    """Name of whoever acted."""


class TracedCode(Artefact):
    """A suggested code."""

    system: CodeSystem
    code: str
    confidence: float


class TracedSuggestion(Artefact):
    """What the model said."""

    suggestion_id: str
    record_id: str
    """The requester's own."""
    stored_at: datetime
    by: Person
    """Who asked."""
    route: RouteDecision
    version_number: int | None
    """Null when a bundle was served from its path."""
    bundle_sha256: str
    content_sha256: str
    codes: tuple[TracedCode, ...] | None
    """Null when the content was purged, or is withheld on the manual route."""
    log: tuple[LogEntry, ...]


class TracedDecision(Artefact):
    """What a coder said."""

    decision_id: str
    decided_at: datetime
    by: Person
    outcome: Literal["decided", "escalated", "deferred"]
    seconds_spent: float
    codes: tuple[CodeDecision, ...]
    """Suggested codes that are not among them were accepted."""
    log: tuple[LogEntry, ...]


class TracedOverride(Artefact):
    """Where a decision differs from the suggestion; its id is that of its case."""

    override_id: str
    decision_id: str
    action: CodeAction
    system: CodeSystem
    code: str
    to: str | None
    reason: str
    log: tuple[LogEntry, ...]
    """Who looked at the case, claimed it, released it."""


class TracedDraw(Artefact):
    """The random draw into the queue; its id is that of its case."""

    audit_draw_id: str
    stratum: str
    probability: float
    drawn_at: datetime
    log: tuple[LogEntry, ...]


class TracedAdjudication(Artefact):
    """What a supervisor said."""

    adjudication_id: str
    case_id: str
    """The override or the audit draw."""
    adjudicated_at: datetime
    by: Person
    verdict: Verdict
    codes: tuple[Code, ...]
    citation: str
    round: int
    blinded: bool
    log: tuple[LogEntry, ...]


class Trace(Artefact):
    """The way of one suggestion, and what of it was asked for."""

    asked_for: str
    kind: Kind
    suggestion: TracedSuggestion
    decisions: tuple[TracedDecision, ...]
    overrides: tuple[TracedOverride, ...]
    audit_draw: TracedDraw | None
    adjudications: tuple[TracedAdjudication, ...]
    """Oldest first; of one case the last round counts."""
