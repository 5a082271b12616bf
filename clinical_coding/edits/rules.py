"""The form of a rule: a name, a severity, and a function from a case to hits.

A hit is a finding that does not know its rule yet. Which rules there are, and in which order, is told in one
table, ``clinical_coding.edits.table``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from clinical_coding.codes import EvidenceSpan
from clinical_coding.edits.case import Case
from clinical_coding.findings import Finding, Severity

__all__ = ["Hit", "Rule", "find"]


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rule found."""

    codes: tuple[str, ...]
    """Label keys, the one to look at first."""
    explanation: str
    source: str
    fix: str | None = None
    evidence: tuple[EvidenceSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One edit."""

    name: str
    severity: Severity
    """Where a policy says nothing else."""
    hits: Callable[[Case], Iterable[Hit]]


def find(case: Case, rules: Iterable[Rule]) -> list[Finding]:
    """Apply rules to a case, in their order."""
    severities = case.policy.severities
    return [
        Finding(
            rule=rule.name,
            severity=severities.get(rule.name, rule.severity),
            codes=hit.codes,
            explanation=hit.explanation,
            source=hit.source,
            fix=hit.fix,
            evidence=hit.evidence,
        )
        for rule in rules
        for hit in rule.hits(case)
    ]
