from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clinical_coding.codes import CodeSystem
from clinical_coding.findings import Finding, Severity
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Encounter, Setting
from clinical_coding.suggestions import RouteDecision
from serving.gateway.routing import RoutingSettings, decide_route, record_confidence

ORDER = [RouteDecision.AUTONOMOUS, RouteDecision.ASSISTED, RouteDecision.MANUAL]
SETTINGS = RoutingSettings(autonomous_from=0.9, assisted_from=0.3)


def code(confidence: float, *, suggested: bool) -> PredictedCode:
    return PredictedCode(system=CodeSystem.ICD10CM, code="I10", confidence=confidence, suggested=suggested)


def visit(setting: str = "outpatient") -> Encounter:
    return Encounter(setting=Setting(setting), specialty="cardiology")


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
    ("setting", "confidence", "decision", "rules"),
    [
        ("outpatient", 0.9, "autonomous", ("confidence-reaches-threshold",)),
        ("outpatient", 0.89, "assisted", ("confidence-below-threshold",)),
        ("outpatient", 0.3, "assisted", ("confidence-below-threshold",)),
        ("outpatient", 0.29, "manual", ("confidence-too-low",)),
        ("inpatient", 0.99, "assisted", ("confidence-reaches-threshold", "inpatient-needs-coder")),
        ("inpatient", 0.1, "manual", ("confidence-too-low", "inpatient-needs-coder")),
    ],
)
def test_each_rule(setting: str, confidence: float, decision: str, rules: tuple[str, ...]) -> None:
    route = decide_route(visit(setting), codes=[code(confidence, suggested=True)], settings=SETTINGS)
    assert (route.decision, route.rules, route.record_confidence) == (decision, rules, confidence)


BLOCKING = Finding(rule="r", severity=Severity.BLOCKING, codes=("icd10cm:I10",), explanation="e", source="s", fix=None)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"findings": [BLOCKING]}, "blocking-finding"),
        ({"num_withheld": 1}, "code-withheld"),
        ({"num_queries": 1}, "documentation-gap"),
    ],
)
def test_what_a_person_must_settle_is_never_autonomous(given: dict[str, Any], rule: str) -> None:
    sure = [code(1.0, suggested=True)]
    route = decide_route(visit(), codes=sure, settings=SETTINGS, **given)
    assert (route.decision, route.rules) == ("assisted", ("confidence-reaches-threshold", rule))
    doubtful = decide_route(visit(), codes=[code(0.1, suggested=True)], settings=SETTINGS, **given)
    assert doubtful.decision == "manual"


@pytest.mark.parametrize("severity", [Severity.INFO, Severity.WARNING])
def test_lesser_findings_change_no_route(severity: Severity) -> None:
    lesser = BLOCKING.model_copy(update={"severity": severity})
    route = decide_route(visit(), codes=[code(1.0, suggested=True)], settings=SETTINGS, findings=[lesser])
    assert route.decision == "autonomous"


def test_nothing_suggested_is_manual() -> None:
    route = decide_route(visit(), codes=[code(0.2, suggested=False)], settings=SETTINGS)
    assert (route.decision, route.rules, route.record_confidence) == ("manual", ("no-code-suggested",), 0.0)


@given(codes)
def test_inpatients_are_never_less_cautious(scored: list[PredictedCode]) -> None:
    there, here = (
        decide_route(visit(s), codes=scored, settings=SETTINGS).decision for s in ("inpatient", "outpatient")
    )
    assert ORDER.index(there) >= max(ORDER.index(here), ORDER.index(RouteDecision.ASSISTED))


def test_thresholds_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"assisted_from 0\.5 must not exceed autonomous_from 0\.4"):
        RoutingSettings(autonomous_from=0.4, assisted_from=0.5)
