"""Reads a policy and sees that every code that it names exists.

A rule whose code no release knows would never find anything, and nobody would notice; so it is an error here.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from clinical_coding.code_systems import CodeSystems, Standing
from clinical_coding.edits.code_sets import CodeSpan
from clinical_coding.edits.policy import Policy, PolicyRule
from clinical_coding.edits.table import RULES
from clinical_coding.settings_file import load_settings

__all__ = ["load_policy"]

_ABSENT = frozenset({Standing.UNKNOWN, Standing.DELETED, Standing.NOT_YET})


def load_policy(path: Path, systems: CodeSystems) -> Policy:
    """Read a policy.

    Args:
        path: Of the YAML file.
        systems: The held releases that its codes are judged by; of a system without one, only the form is judged.

    Raises:
        ValueError: The file cannot be read, a field is missing, wrong or unknown, an id is given twice or is the
            name of a built-in rule, a severity names no built-in rule, or a rule names a code that exists in no
            release in force during the rule's dates.
    """
    policy = load_settings(path, Policy)
    faults = [*_name_faults(policy), *(fault for rule in policy.rules for fault in _code_faults(rule, systems))]
    if faults:
        raise ValueError(f"policy {path}: {'; '.join(faults)}")
    return policy


def _name_faults(policy: Policy) -> Iterator[str]:
    names = {rule.name for rule in RULES}
    for name in policy.severities:
        if name not in names:
            yield f"severities names the rule {name!r}, which there is not; the rules are {', '.join(sorted(names))}"
    for rule in policy.rules:
        if rule.id in names:
            yield f"rule {rule.id}: a built-in rule has this name; choose another id"


def _code_faults(rule: PolicyRule, systems: CodeSystems) -> Iterator[str]:
    for span in dict.fromkeys(rule.spans):
        for code in dict.fromkeys((span.first, span.last)):
            if not any(_exists(span, code, day, systems) for day in _days(rule, span, systems)):
                yield (
                    f"rule {rule.id} names {span.system}:{code}, which no release has that is in force from "
                    f"{rule.effective_from} to {rule.effective_to or 'now'}; correct the code or the rule's dates"
                )


def _days(rule: PolicyRule, span: CodeSpan, systems: CodeSystems) -> Iterator[date | None]:
    """One day in each release that the rule's dates touch."""
    yield rule.effective_from
    for release in systems.releases(span.system):
        if rule.effective_from < release.effective_from <= (rule.effective_to or release.effective_from):
            yield release.effective_from


def _exists(span: CodeSpan, code: str, day: date | None, systems: CodeSystems) -> bool:
    return systems.standing(span.system, code, day) not in _ABSENT
