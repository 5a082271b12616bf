"""Write docs/coding-rules.md: every rule that codes are judged by, from the tables that the product itself runs.

python -m scripts.rules_page
"""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from clinical_coding.artefact import publish
from clinical_coding.code_systems import CodeSystems
from clinical_coding.documentation.support_rules import RULES as SUPPORT_RULES
from clinical_coding.edits import RULES, load_policy
from clinical_coding.queries import load_query_rules
from scripts.answer_rules import DEFAULT_POLICY, DEFAULT_QUERIES

__all__ = ["PAGE", "main", "render"]

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "coding-rules.md"

_PAGE: Final = """# The rules that codes are judged by

Written by `python -m scripts.rules_page` from the tables that the product runs. Each suggestion, and each file given
to `chartloop codes check`, is judged by them; a finding names the rule, the codes, why, the source, and what settles
it. *Blocking*: the claim must not go out like this, and no encounter that has one is coded without a person.

What a rule knows comes from the release in force on the date of coding: the date of discharge of a stay, the date of
service elsewhere. Instructional notes are read from the tabular list itself (`chartloop codes notes --unparsed` lists
those that name no codes). Guideline sections are those of the ICD-10-CM Official Guidelines for Coding and Reporting,
fiscal year 2026. What the guidelines say of groups of codes is data in
[conventions.yaml](../clinical_coding/edits/conventions.yaml).

## What the documentation supports

A code is suggested only when one of its mentions supports it; else it is withheld, with one of these findings, and a
person looks at the encounter.

{support}

## Edits

A severity here is the rule's own; `severities` in [configs/policy.yaml](../configs/policy.yaml) may set another.

{edits}

## Rules of the organisation and of payers

Examples to start from, in [configs/policy.yaml](../configs/policy.yaml), with dates, payers and settings.

{policy}

## Questions to the physician

Asked where the notes show the indicators and do not state the answer: rules and examples in
[configs/queries.yaml](../configs/queries.yaml). Each query cites this patient's indicators, offers the answers that
they support, "other" and "unable to determine", and passes a linter after the AHIMA/ACDIS practice brief *Guidelines
for Achieving a Compliant Query Practice* (2022): no leading, no new diagnosis in title or question, no mention of
payment or quality, yes/no only where allowed.

{queries}
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _first_line(function: object) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def render() -> str:
    """Give the page's text."""
    policy = load_policy(DEFAULT_POLICY, CodeSystems.embedded())
    queries = load_query_rules(DEFAULT_QUERIES)
    return _PAGE.format(
        support=_table(
            ("rule", "why", "source"),
            ((f"`{name}`", rule.explanation, rule.source) for name, rule in SUPPORT_RULES.items()),
        ),
        edits=_table(
            ("rule", "severity", "finds"),
            ((f"`{rule.name}`", rule.severity.value, _first_line(rule.hits)) for rule in RULES),
        ),
        policy=_table(
            ("rule", "severity", "finds", "source"),
            ((f"`{rule.id}`", rule.severity.value, rule.explanation, rule.source) for rule in policy.rules),
        ),
        queries=_table(
            ("topic", "title", "source"),
            ((f"`{rule.topic}`", rule.title, rule.source) for rule in queries.rules),
        ),
    )


def main() -> None:
    """Write the page."""
    with publish(PAGE) as stream:
        stream.write(render())


if __name__ == "__main__":
    main()
