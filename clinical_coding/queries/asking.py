"""Asks: from the notes, codes and findings of an encounter to the queries that should be drafted.

Pure and deterministic: asked again, the same queries with the same ids come out. Whether and when a query is
sent is a person's decision.
"""

import logging
from collections.abc import Sequence
from itertools import chain
from uuid import UUID, uuid5

from clinical_coding.codes import Code, CodeSystem
from clinical_coding.documentation import ReadNote
from clinical_coding.findings import Finding
from clinical_coding.physician_queries import PhysicianQuery, QueryIndicator
from clinical_coding.queries.chart import Chart
from clinical_coding.queries.compliance import Basis, faults_of, offered
from clinical_coding.queries.loading import QueryRules
from clinical_coding.queries.rules import QueryRule
from clinical_coding.records import Encounter

__all__ = ["find_queries"]

logger = logging.getLogger(__name__)


def find_queries(
    encounter: Encounter,
    notes: Sequence[ReadNote],
    codes: Sequence[Code],
    findings: Sequence[Finding],
    *,
    rules: QueryRules,
    suggestion_id: str,
) -> tuple[PhysicianQuery, ...]:
    """Find where the documentation has a gap that only the physician can close.

    Args:
        encounter: Setting and age decide which rules apply.
        notes: Of this encounter.
        codes: Suggested or coded; their evidence can be an indicator.
        findings: What the edits found in the codes.
        rules: From ``load_query_rules``.
        suggestion_id: A UUID; the ids of the queries follow from it.

    Returns:
        Compliant queries in the order of the rules, one a rule, but one a finding for rules that ask about findings.
        A query that turns out not to be compliant is left out, and its topic and faults are logged.
    """
    chart = Chart(notes, codes, rules=rules)
    asked: list[PhysicianQuery] = []
    for rule in rules.rules:
        if encounter.setting not in rule.settings or _too_young(encounter, rule) or chart.settles(rule.unless):
            continue
        subjects: Sequence[Finding | None] = _findings_for(rule, findings) or (None,)
        queries = (_ask(rule, chart, finding=finding) for finding in subjects)
        found = list(dict.fromkeys(query for query in queries if query is not None))
        asked.extend(
            _with_id(query, suggestion_id=suggestion_id, place=place)
            for place, query in enumerate(found, start=1)
            if _compliant(query, rule=rule, chart=chart)
        )
    return tuple(asked)


def _too_young(encounter: Encounter, rule: QueryRule) -> bool:
    return rule.age_from is not None and encounter.age is not None and encounter.age < rule.age_from


def _findings_for(rule: QueryRule, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    names = set(chain.from_iterable(indicator.findings for indicator in rule.indicators))
    return tuple(finding for finding in findings if finding.rule in names) if names else ()


def _ask(rule: QueryRule, chart: Chart, *, finding: Finding | None) -> PhysicianQuery | None:
    """Put a query together, where its rule's requirements are met."""
    seen = _requirements(rule, chart, finding=finding)
    if seen is None:
        return None
    for indicator in rule.indicators:
        if indicator.name not in seen and indicator.name not in rule.unless.indicators:
            seen[indicator.name] = chart.sightings(indicator, finding=finding)
    cited = tuple(chain.from_iterable(seen.get(indicator.name, ()) for indicator in rule.indicators))
    answers = [
        option.text for option in rule.options if not option.needs or any(seen.get(name) for name in option.needs)
    ]
    return PhysicianQuery(
        query_id="",
        topic=rule.topic,
        title=rule.title,
        form=rule.form,
        question=rule.question,
        options=offered(rule, answers),
        indicators=cited,
        codes=_keys(rule, chart, finding=finding),
        source=rule.source,
    )


def _requirements(
    rule: QueryRule, chart: Chart, *, finding: Finding | None
) -> dict[str, tuple[QueryIndicator, ...]] | None:
    """Where the required indicators show; none as soon as a part of the requirement is not met."""
    by_name = {indicator.name: indicator for indicator in rule.indicators}
    seen: dict[str, tuple[QueryIndicator, ...]] = {}
    if any(chart.sightings(by_name[name], finding=finding) for name in rule.unless.indicators):
        return None
    for group in rule.requires:
        for name in group.of:
            if name not in seen:
                seen[name] = chart.sightings(by_name[name], finding=finding)
        if sum(bool(seen[name]) for name in group.of) < group.at_least:
            return None
    return seen


def _keys(rule: QueryRule, chart: Chart, *, finding: Finding | None) -> tuple[str, ...]:
    """Label keys that the answer bears on: those of the finding or indicators first, then those of the rule."""
    concerned = finding.codes if finding is not None else ()
    found = chain.from_iterable(chart.keys(indicator) for indicator in rule.indicators)
    named = (f"{CodeSystem.ICD10CM}:{code}" for code in rule.codes)
    return tuple(dict.fromkeys(chain(concerned, found, named)))


def _compliant(query: PhysicianQuery, *, rule: QueryRule, chart: Chart) -> bool:
    faults = faults_of(query, basis=Basis.of_rule(rule, notes=chart.texts))
    if faults:
        logger.warning("a query is withheld as not compliant: topic %s, faults %s", rule.topic, ", ".join(faults))
    return not faults


def _with_id(query: PhysicianQuery, *, suggestion_id: str, place: int) -> PhysicianQuery:
    return query.model_copy(update={"query_id": str(uuid5(UUID(suggestion_id), f"{query.topic}:{place}"))})
