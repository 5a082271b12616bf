"""Coding scenarios across all rules, and proof that each rule is needed by them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from clinical_coding.code_systems import CodeSystems
from clinical_coding.edits import RULES, MedicalNecessity, Rule
from clinical_coding.edits.case import Case
from clinical_coding.edits.rules import Hit
from clinical_coding.findings import Severity
from tests.clinical_coding.edits.scenario import Scenario, load_scenarios

SCENARIOS = load_scenarios()
RULES_BY_NAME = {rule.name: rule for rule in RULES}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.id)
def test_the_rules_say_what_they_must_and_nothing_else(
    scenario: Scenario, systems: CodeSystems, necessity: MedicalNecessity
) -> None:
    findings = scenario.findings(systems=systems, necessity=necessity)
    assert scenario.faults(findings) == []


def test_there_are_many_scenarios_half_of_them_negative() -> None:
    assert len({scenario.id for scenario in SCENARIOS}) == len(SCENARIOS) >= 150
    negatives = sum(not scenario.find for scenario in SCENARIOS)
    assert 0.45 <= negatives / len(SCENARIOS) <= 0.6
    assert all(scenario.find or scenario.never for scenario in SCENARIOS)


def test_every_rule_is_exercised_both_ways() -> None:
    found = Counter(expected.rule for scenario in SCENARIOS for expected in scenario.find)
    kept_silent = Counter(rule for scenario in SCENARIOS for rule in scenario.never)
    assert set(found) == set(RULES_BY_NAME)
    assert set(kept_silent) == set(RULES_BY_NAME)


def _always(case: Case) -> Iterator[Hit]:
    yield from (Hit((code.key,), "mutant", "mutant") for code in case.codes)


def _survives(mutant: Rule, systems: CodeSystems, necessity: MedicalNecessity) -> bool:
    """True when no scenario fails with this one rule in the place of all."""
    for scenario in SCENARIOS:
        expected = [one for one in scenario.find if one.rule == mutant.name]
        if not expected and mutant.name not in scenario.never:
            continue
        findings = scenario.findings(systems=systems, necessity=necessity, rules=(mutant,))
        only = replace(scenario, find=tuple(expected), never=tuple(set(scenario.never) & {mutant.name}))
        if only.faults(findings):
            return False
    return True


@pytest.mark.parametrize("name", RULES_BY_NAME)
def test_a_changed_rule_makes_a_scenario_fail(name: str, systems: CodeSystems, necessity: MedicalNecessity) -> None:
    rule = RULES_BY_NAME[name]
    other = Severity.INFO if rule.severity is not Severity.INFO else Severity.WARNING
    mutants = {
        "disabled": replace(rule, hits=lambda case: ()),
        "always fires": replace(rule, hits=_always),
        "fires twice over": replace(rule, hits=lambda case: [*rule.hits(case), *_always(case)]),
        "fires on the first code alone": replace(
            rule, hits=lambda case: list(rule.hits(case))[:1] or list(_always(case))[:1]
        ),
        "severity lost": replace(rule, severity=other),
    }
    assert _survives(rule, systems, necessity), "the rule itself must pass"
    assert [what for what, mutant in mutants.items() if _survives(mutant, systems, necessity)] == []
