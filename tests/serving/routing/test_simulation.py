from typing import Any

import pytest

from clinical_coding.suggestions import RouteDecision
from serving.routing.history import PastEncounter, Segment
from serving.routing.shares import Share
from serving.routing.simulation import simulate

AUTONOMOUS, ASSISTED, MANUAL = RouteDecision.AUTONOMOUS, RouteDecision.ASSISTED, RouteDecision.MANUAL
SURE = ("confidence-reaches-threshold", AUTONOMOUS)
STAY = ("inpatient-needs-coder", ASSISTED)
WEIGHT = ("drg-weight-high", MANUAL)


def past(*fired: Any, setting: str = "outpatient", wrong: int = 0, missed: int = 0) -> PastEncounter:
    segment = Segment(setting, "cardiology", "low")
    return PastEncounter(segment, (fired,), num_suggested=4, num_wrong=wrong, num_missed=missed)


# Five autonomous, one of which has a wrong code and one a missing one; three stays, of which one is manual.
HISTORY = [
    *(past(SURE) for _ in range(3)),
    past(SURE, wrong=1),
    past(SURE, missed=2),
    past(SURE, STAY, setting="inpatient"),
    past(SURE, STAY, setting="inpatient", wrong=2),
    past(SURE, STAY, WEIGHT, setting="inpatient"),
]


def test_routes_and_errors_by_hand() -> None:
    [policy] = simulate(HISTORY, names=["ours"]).policies
    assert dict(policy.routes) == {AUTONOMOUS: Share(5, 8), ASSISTED: Share(2, 8), MANUAL: Share(1, 8)}
    assert policy.error == Share(2, 5)
    # 20 codes were suggested there, of which 19 were right; 2 more were missing.
    assert (policy.wrong_codes, policy.missed_codes) == (Share(1, 20), Share(2, 21))
    assert policy.error_of_all == Share(3, 8)


def test_what_a_rule_does_is_told_by_leaving_it_out() -> None:
    [policy] = simulate(HISTORY, names=["ours"]).policies
    rules = {rule.name: rule for rule in policy.rules}
    stay, weight = rules["inpatient-needs-coder"], rules["drg-weight-high"]
    # The manual stay stays manual without it.
    assert (stay.fired, stay.moved) == (Share(3, 8), Share(2, 8))
    assert stay.moves == ((AUTONOMOUS, ASSISTED, 2),)
    assert stay.kept_from_autonomous == Share(1, 2)
    assert (weight.moved, weight.moves) == (Share(1, 8), ((ASSISTED, MANUAL, 1),))
    assert weight.kept_from_autonomous.of == 0
    assert rules["confidence-reaches-threshold"].moved.count == 0


def test_slices_sum_up_to_all() -> None:
    [policy] = simulate(HISTORY, names=["ours"]).policies
    settings = {one.value: one for one in policy.slices if one.dimension == "setting"}
    assert settings["outpatient"].autonomous == Share(5, 5)
    assert settings["inpatient"].autonomous == Share(0, 3)
    assert settings["inpatient"].error == Share(0, 0)
    assert {one.dimension for one in policy.slices} == {"setting", "specialty", "complexity"}


def test_policies_are_told_side_by_side() -> None:
    segment = Segment("outpatient", "cardiology", "low")
    one = PastEncounter(segment, ((SURE,), (SURE, STAY)), num_suggested=1, num_wrong=0, num_missed=0)
    ours, theirs = simulate([one], names=["ours", "theirs"]).policies
    assert dict(ours.routes)[AUTONOMOUS] == dict(theirs.routes)[ASSISTED] == Share(1, 1)


def test_no_history_is_refused() -> None:
    with pytest.raises(ValueError, match="the history holds no encounter"):
        simulate([], names=["ours"])


@pytest.mark.parametrize(
    ("share", "low", "high"),
    # Wilson's interval, from its closed form; Brown, Cai and DasGupta (2001), table of 95% intervals for 0 and 5 of 10.
    [(Share(0, 10), 0.0, 0.2775), (Share(5, 10), 0.2366, 0.7634), (Share(10, 10), 0.7225, 1.0)],
)
def test_the_interval_of_a_share(share: Share, low: float, high: float) -> None:
    assert (share.low, share.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_of_none_nothing_is_known() -> None:
    assert (Share(0, 0).value, Share(0, 0).low, Share(0, 0).high) == (0.0, 0.0, 1.0)
