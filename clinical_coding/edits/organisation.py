"""The rule that applies the organisation's policy: each of its rules finds under its own name and severity."""

from collections.abc import Iterator

from clinical_coding.edits.case import Case
from clinical_coding.findings import Finding

__all__ = ["policy_findings"]


def policy_findings(case: Case) -> Iterator[Finding]:
    """What the policy's rules find, in the order of the policy."""
    first = case.first
    principal = first.code if first is not None else None
    for rule in case.policy.rules:
        if not rule.applies(case.encounter, case.on):
            continue
        codes = rule.when.met_by(case.codes, principal)
        if codes and not (rule.unless is not None and rule.unless.met_by(case.codes, principal)):
            yield Finding(
                rule=rule.id,
                severity=rule.severity,
                codes=codes,
                explanation=rule.explanation,
                source=rule.source,
                fix=rule.fix,
            )
