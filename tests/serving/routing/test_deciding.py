from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_coding.codes import CodeSystem
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Encounter, Setting
from clinical_coding.suggestions import RouteDecision
from serving.routing import RoutingFacts, RoutingRules, decide_route, record_confidence
from serving.routing.deciding import CAUTION

THRESHOLDS = [
    {"autonomous_from": 0.9, "assisted_from": 0.3, "reason": "for all of them"},
    {"setting": "emergency", "autonomous_from": 0.95, "assisted_from": 0.3, "reason": "for one setting"},
    {"specialty": "oncology", "autonomous_from": 0.99, "assisted_from": 0.3, "reason": "for one specialty"},
    {
        "setting": "emergency",
        "specialty": "oncology",
        "autonomous_from": 1.0,
        "assisted_from": 0.5,
        "reason": "for one specialty in one setting",
    },
]
INPATIENT = {"name": "inpatient", "route": "assisted", "when": {"settings": ["inpatient"]}, "reason": "a rule of tests"}
TODAY = date(2026, 11, 26)


def rules(*lines: dict[str, Any], **other: Any) -> RoutingRules:
    return RoutingRules.model_validate({"thresholds": THRESHOLDS, "rules": lines, **other})


def code(confidence: float, *, suggested: bool = True) -> PredictedCode:
    return PredictedCode(system=CodeSystem.ICD10CM, code="I10", confidence=confidence, suggested=suggested)


def facts(*scored: PredictedCode, setting: str = "outpatient", specialty: str = "cardiology", **other: Any) -> Any:
    encounter = Encounter(setting=Setting(setting), specialty=specialty, **other.pop("encounter", {}))
    return RoutingFacts(encounter=encounter, codes=scored, on=TODAY, **other)


codes = st.lists(st.builds(lambda c, s: code(c, suggested=s), st.floats(0, 1), st.booleans()), max_size=8)


@pytest.mark.parametrize(
    ("scored", "expected"),
    [
        ([], 0.0),
        ([(0.2, False)], 0.0),
        ([(0.8, True)], 0.8),
        ([(0.9, True), (0.6, True)], 0.6),
        ([(0.9, True), (0.25, False)], 0.75),
        ([(0.6, True), (0.25, False)], 0.6),
    ],
)
def test_record_confidence_by_hand(scored: list[tuple[float, bool]], expected: float) -> None:
    assert record_confidence([code(c, suggested=s) for c, s in scored]) == pytest.approx(expected)


@given(codes, st.floats(0, 1), st.booleans())
def test_one_more_decision_never_raises_confidence(
    scored: list[PredictedCode], confidence: float, suggested: bool
) -> None:
    before, after = record_confidence(scored), record_confidence([*scored, code(confidence, suggested=suggested)])
    assert 0 <= after <= 1
    assert after <= before or not any(one.suggested for one in scored)


@pytest.mark.parametrize(
    ("setting", "specialty", "confidence", "decision", "rule"),
    [
        ("outpatient", "cardiology", 0.9, "autonomous", "confidence-reaches-threshold"),
        ("outpatient", "cardiology", 0.89, "assisted", "confidence-below-threshold"),
        ("outpatient", "cardiology", 0.29, "manual", "confidence-too-low"),
        ("emergency", "cardiology", 0.94, "assisted", "confidence-below-threshold"),
        ("emergency", "cardiology", 0.95, "autonomous", "confidence-reaches-threshold"),
        # A line for a specialty goes before one for a setting, and one for both before either.
        ("outpatient", "oncology", 0.98, "assisted", "confidence-below-threshold"),
        ("emergency", "oncology", 0.99, "assisted", "confidence-below-threshold"),
        ("emergency", "oncology", 0.49, "manual", "confidence-too-low"),
    ],
)
def test_thresholds_by_setting_and_specialty(
    setting: str, specialty: str, confidence: float, decision: str, rule: str
) -> None:
    route = decide_route(facts(code(confidence), setting=setting, specialty=specialty), rules())
    assert (route.decision, route.rules, route.record_confidence) == (decision, (rule,), confidence)


def test_nothing_suggested_is_manual() -> None:
    route = decide_route(facts(code(0.2, suggested=False)), rules())
    assert (route.decision, route.rules, route.record_confidence) == ("manual", ("no-code-suggested",), 0.0)


def test_the_most_cautious_of_all_that_fire_is_taken_and_each_is_named() -> None:
    manual = {"name": "flagged", "route": "manual", "when": {"flags": ["complication"]}, "reason": "a rule of tests"}
    flagged = facts(code(1.0), setting="inpatient", encounter={"flags": ("complication",)})
    route = decide_route(flagged, rules(manual, INPATIENT))
    assert (route.decision, route.rules) == ("manual", ("confidence-reaches-threshold", "flagged", "inpatient"))


@pytest.mark.parametrize(
    ("dates", "is_in_force"),
    [
        ({}, True),
        ({"effective_from": "2026-11-26"}, True),
        ({"effective_from": "2026-11-27"}, False),
        ({"effective_to": "2026-11-26"}, True),
        ({"effective_to": "2026-11-25"}, False),
    ],
)
def test_a_rule_holds_between_its_dates_on_the_day_of_routing(dates: dict[str, str], is_in_force: bool) -> None:
    route = decide_route(facts(code(1.0), setting="inpatient"), rules(INPATIENT | dates))
    assert ("inpatient" in route.rules) is is_in_force
    watched = {"provider_id": "d7", "reason": "denials rose"} | dates
    route = decide_route(facts(code(1.0), encounter={"provider_id": "d7"}), rules(watch_list=[watched]))
    assert ("provider-on-watch-list" in route.rules) is is_in_force


def test_the_watch_list_is_of_providers_and_payers_and_names_neither() -> None:
    watching = rules(
        watch_list=[
            {"provider_id": "d7", "reason": "denials rose"},
            {"payer": "medicare", "route": "manual", "reason": "an audit goes on"},
        ]
    )
    provider = decide_route(facts(code(1.0), encounter={"provider_id": "d7"}), watching)
    assert (provider.decision, provider.rules[1:]) == ("assisted", ("provider-on-watch-list",))
    payer = decide_route(facts(code(1.0), encounter={"payer": "medicare", "provider_id": "d8"}), watching)
    assert (payer.decision, payer.rules[1:]) == ("manual", ("payer-on-watch-list",))
    assert decide_route(facts(code(1.0)), watching).decision == "autonomous"


@given(codes)
def test_a_rule_more_is_never_less_cautious(scored: list[PredictedCode]) -> None:
    stay = facts(*scored, setting="inpatient")
    without, with_ = (decide_route(stay, one).decision for one in (rules(), rules(INPATIENT)))
    assert CAUTION.index(with_) >= max(CAUTION.index(without), CAUTION.index(RouteDecision.ASSISTED))
    assert decide_route(replace(stay, num_queries=3), rules(INPATIENT)).decision == with_


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"rules": [INPATIENT, INPATIENT]}, "rules must have distinct names; inpatient repeats"),
        ({"thresholds": [THRESHOLDS[0], THRESHOLDS[0]]}, "thresholds must differ in setting or specialty"),
        (
            {"thresholds": [THRESHOLDS[0] | {"assisted_from": 0.95}]},
            r"assisted_from 0\.95 must not exceed autonomous_from 0\.9; lower it",
        ),
        ({"rules": [INPATIENT | {"when": {}}]}, "when must state at least one condition"),
        ({"rules": [INPATIENT | {"route": "autonomous"}]}, "rules.0.route"),
        ({"rules": [INPATIENT | {"when": {"codes": ["T80"]}}]}, "String should match pattern"),
        (
            {"rules": [INPATIENT | {"effective_from": "2026-05-02", "effective_to": "2026-05-01"}]},
            "effective_to 2026-05-01 must not be before effective_from 2026-05-02",
        ),
        ({"watch_list": [{"reason": "names nobody"}]}, "names either provider_id or payer"),
    ],
)
def test_a_wrong_policy_is_refused(policy: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoutingRules.model_validate(policy)
