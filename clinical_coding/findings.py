"""Findings: what coding rules have to say about the codes of an encounter, in one form for every rule.

Edits, routing, the gateway's answer and the workbench speak in them. A finding names codes, offsets and
rules, never clinical text.
"""

from enum import StrEnum

from clinical_coding.artefact import Artefact
from clinical_coding.codes import EvidenceSpan

__all__ = ["Finding", "Severity"]


class Severity(StrEnum):
    """What a finding means for the claim."""

    INFO = "info"
    """Worth knowing; nothing need be done."""
    WARNING = "warning"
    """A person should look."""
    BLOCKING = "blocking"
    """The claim must not go out like this, and no encounter that has one is coded without a person."""


class Finding(Artefact):
    """What a coding rule has to say about the codes."""

    rule: str
    """Name of the rule, such as ``excludes1-conflict``."""
    severity: Severity
    codes: tuple[str, ...]
    """Label keys of the codes concerned, such as ``icd10cm:I10``; empty where the encounter is meant."""
    explanation: str
    """Why, in one or two sentences; it quotes the tabular list, never the note."""
    source: str
    """Guideline section, tabular note, table or policy that the rule rests on."""
    fix: str | None
    """What would settle it."""
    evidence: tuple[EvidenceSpan, ...] = ()
    """Where in the notes it shows, for rules that read them."""
