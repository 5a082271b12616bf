"""The rules of configs/queries.yaml: each asks about its positive examples and leaves its negative ones alone."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clinical_coding.code_library import load_icd10cm
from clinical_coding.edits import RULES
from clinical_coding.physician_queries import OTHER, UNABLE_TO_DETERMINE, PhysicianQuery, QueryForm
from clinical_coding.queries import QueryRule, QueryRules
from clinical_coding.queries.compliance import Basis, faults_of, faults_of_rule
from clinical_coding.queries.rules import Example, RulesFile, Unless
from clinical_coding.settings_file import load_settings

FILE = load_settings(Path(__file__).parents[3] / "configs" / "queries.yaml", RulesFile)
Asking = Callable[[Example, QueryRules], tuple[PhysicianQuery, ...]]


def examples(*, positive: bool) -> list[object]:
    return list(_examples(positive=positive))


def _examples(*, positive: bool) -> Iterator[object]:
    for rule in FILE.rules:
        chosen = rule.examples.asks if positive else rule.examples.silent
        for place, example in enumerate(chosen, start=1):
            yield pytest.param(rule, example, id=f"{rule.topic}-{place}")


@pytest.mark.parametrize(("rule", "example"), examples(positive=True))
def test_a_positive_example_is_asked_about(rule: QueryRule, example: Example, ask: Asking, rules: QueryRules) -> None:
    (query,) = [query for query in ask(example, rules) if query.topic == rule.topic]
    assert query.indicators
    for indicator in query.indicators:
        assert example.note[indicator.start : indicator.end] == indicator.text
    if query.form is not QueryForm.OPEN_ENDED:
        assert query.options[-2:] == (OTHER, UNABLE_TO_DETERMINE)
        assert len(query.options) >= 4
    assert faults_of(query, basis=Basis.of_rule(rule, notes={"n1": example.note})) == ()


@pytest.mark.parametrize(("rule", "example"), examples(positive=False))
def test_a_negative_example_is_left_alone(rule: QueryRule, example: Example, ask: Asking, rules: QueryRules) -> None:
    assert rule.topic not in {query.topic for query in ask(example, rules)}


@pytest.mark.parametrize("rule", FILE.rules, ids=lambda rule: rule.topic)
def test_a_rule_is_compliant_by_its_words_alone(rule: QueryRule) -> None:
    assert faults_of_rule(rule) == ()


def weakened(rule: QueryRule) -> Iterator[QueryRule]:
    """The rule without what settles it, and without each part of what it requires."""
    if rule.unless.stated or rule.unless.codes:
        yield rule.model_copy(update={"unless": Unless(indicators=rule.unless.indicators)})
    if rule.unless.indicators:
        yield rule.model_copy(update={"unless": rule.unless.model_copy(update={"indicators": ()})})
    if len(rule.requires) > 1:
        for group in rule.requires:
            yield rule.model_copy(update={"requires": tuple(other for other in rule.requires if other != group)})


@pytest.mark.parametrize("rule", FILE.rules, ids=lambda rule: rule.topic)
def test_every_part_of_a_rule_is_needed(rule: QueryRule, ask: Asking, rules: QueryRules) -> None:
    """Without any one part, an example that should be left alone is asked about, or the linter refuses the rule."""
    for weak in weakened(rule):
        alone = replace(rules, rules=(weak,))
        assert faults_of_rule(weak) or any(ask(example, alone) for example in rule.examples.silent), weak


def test_there_are_enough_rules_of_every_form_and_purpose() -> None:
    assert len(FILE.rules) >= 28
    assert {rule.form for rule in FILE.rules} == set(QueryForm)
    assert len({rule.purpose for rule in FILE.rules}) == 5


def test_every_list_and_measure_is_used() -> None:
    text = (Path(__file__).parents[3] / "configs" / "queries.yaml").read_text(encoding="utf-8")
    assert [name for name in FILE.lists if f'"@{name}"' not in text] == []
    used = {indicator.measure for rule in FILE.rules for indicator in rule.indicators}
    assert sorted(set(FILE.measures) - used) == []


def test_codes_that_an_answer_bears_on_can_stand_on_a_claim() -> None:
    library = load_icd10cm()
    assert [code for rule in FILE.rules for code in rule.codes if not library.is_valid(code)] == []


def test_every_option_with_needs_is_offered_in_some_example(ask: Asking, rules: QueryRules) -> None:
    """An option whose indicator no example shows is dead, or untested."""
    missing = []
    for rule in FILE.rules:
        offered = {
            option
            for example in rule.examples.asks
            for query in ask(example, rules)
            if query.topic == rule.topic
            for option in query.options
        }
        missing += [(rule.topic, option.text) for option in rule.options if option.needs and option.text not in offered]
    assert missing == []


def test_findings_that_rules_wait_for_are_rules_of_the_edits() -> None:
    awaited = {name for rule in FILE.rules for indicator in rule.indicators for name in indicator.findings}
    assert awaited
    assert awaited <= {rule.name for rule in RULES}
