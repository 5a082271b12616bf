"""What the tests of queries share: the shipped rules, and a way to ask them about a small encounter."""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from clinical_coding.codes import Code, CodeSystem, EvidenceSpan
from clinical_coding.documentation import read_note
from clinical_coding.findings import Finding, Severity
from clinical_coding.physician_queries import PhysicianQuery
from clinical_coding.queries import QueryRules, find_queries, load_query_rules
from clinical_coding.queries.rules import Example
from clinical_coding.records import Encounter, Note

RULES = Path(__file__).parents[3] / "configs" / "queries.yaml"
Asking = Callable[[Example, QueryRules], tuple[PhysicianQuery, ...]]


@pytest.fixture(scope="session")
def rules() -> QueryRules:
    return load_query_rules(RULES)


@pytest.fixture(scope="session")
def ask() -> Asking:
    """The queries that an example encounter gives rise to."""

    def asked(example: Example, rules: QueryRules) -> tuple[PhysicianQuery, ...]:
        note = example.note
        codes = [
            Code(system=CodeSystem.ICD10CM, code=code, evidence=(_quote(note, words),))
            for code, words in example.codes.items()
        ]
        findings = [_finding(rule, _quote(note, words)) for rule, words in example.findings.items()]
        return find_queries(
            Encounter(setting=example.setting, specialty="medicine", age=example.age),
            [read_note(Note(note_id="n1", text=note))],
            codes,
            findings,
            rules=rules,
            suggestion_id=str(UUID(int=7)),
        )

    return asked


def _quote(text: str, words: str) -> EvidenceSpan:
    start = text.index(words)
    return EvidenceSpan(note_id="n1", start=start, end=start + len(words))


def _finding(rule: str, span: EvidenceSpan) -> Finding:
    return Finding(
        rule=rule,
        severity=Severity.WARNING,
        codes=("icd10cm:M25.561",),
        explanation="The side is in doubt.",
        source="I.B.13",
        fix=None,
        evidence=(span,),
    )
