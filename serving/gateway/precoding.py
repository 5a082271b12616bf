"""The pre-coding check: what the documentation leaves open, before any coder sees the chart (stage 7).

Made like a suggestion and kept as one, so that its queries can be sent and answered; but without codes and
route, which nobody can then read back, whichever the role. A finding goes by its rule's name, for its words
may name a code.
"""

from typing import Final, Literal

from clinical_coding.artefact import Artefact
from clinical_coding.codes import EvidenceSpan
from clinical_coding.documentation.support_rules import RULES
from clinical_coding.findings import Finding
from clinical_coding.physician_queries import PhysicianQuery
from clinical_coding.suggestions import PRE_CODING_RULE, Route, RouteDecision, Suggestion, VersionName

__all__ = ["DocumentationGap", "PreCodingCheck", "as_check", "is_check", "without_codes"]

_GAPS: Final = {
    "laterality-conflict": "The notes name different sides for one condition.",
    "laterality-unspecified": "A side that codes ask for is told only in part.",
    "specificity-missed": "A detail that codes ask for is not told where the condition is named.",
}
_FIX: Final = "Complete the documentation, or send the physician a query."


class DocumentationGap(Artefact):
    """What the documentation leaves open or says only in doubt, without a code."""

    rule: str
    explanation: str
    source: str
    """Guideline section that it rests on."""
    fix: str | None
    evidence: tuple[EvidenceSpan, ...]


class PreCodingCheck(Artefact):
    """The answer of ``POST /v1/suggestions?mode=pre-coding``."""

    mode: Literal["pre-coding"] = "pre-coding"
    suggestion_id: str
    """Of what is kept; it holds no codes, and is not to be decided."""
    version: VersionName
    degraded: bool
    gaps: tuple[DocumentationGap, ...]
    queries: tuple[PhysicianQuery, ...]
    trace_id: str


def without_codes(suggestion: Suggestion) -> Suggestion:
    """What is kept of a suggestion that was made for a check: gaps and queries, nothing that tells a code."""
    gaps = [_gap(finding) for finding in suggestion.findings if finding.rule in _GAPS or finding.rule in RULES]
    return suggestion.model_copy(
        update={
            "codes": (),
            "findings": tuple(dict.fromkeys(gaps)),
            "queries": tuple(query.model_copy(update={"codes": ()}) for query in suggestion.queries),
            "grouping": None,
            "route": Route(decision=RouteDecision.ASSISTED, rules=(PRE_CODING_RULE,), record_confidence=0.0),
        }
    )


def is_check(suggestion: Suggestion) -> bool:
    """Whether a suggestion was kept for a check."""
    return suggestion.route.rules == (PRE_CODING_RULE,)


def as_check(suggestion: Suggestion) -> PreCodingCheck:
    """What is answered of a suggestion that ``without_codes`` gave."""
    return PreCodingCheck(
        suggestion_id=suggestion.suggestion_id,
        version=suggestion.version,
        degraded=suggestion.degraded,
        gaps=tuple(
            DocumentationGap(
                rule=finding.rule,
                explanation=finding.explanation,
                source=finding.source,
                fix=finding.fix,
                evidence=finding.evidence,
            )
            for finding in suggestion.findings
        ),
        queries=suggestion.queries,
        trace_id=suggestion.trace_id,
    )


def _gap(finding: Finding) -> Finding:
    told = finding.rule in RULES
    return finding.model_copy(
        update={
            "codes": (),
            "explanation": finding.explanation if told else _GAPS[finding.rule],
            "fix": finding.fix if told else _FIX,
        }
    )
