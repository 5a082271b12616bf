"""Simulated coders keep to their stated rates and habits, and decide nothing that the loop would refuse."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import CodeAction, Decision
from clinical_coding.suggestions import Suggestion
from feedback.decision_checks import check_decision
from feedback.overrides import apply_decision
from feedback.settings import load_reasons
from feedback.shown import Shown
from feedback.simulation.coders import category, decide
from feedback.simulation.settings import Habit, SimulatedCoder

SYSTEMS = CodeSystems.embedded()

CONFIGS = Path(__file__).parents[3] / "configs"
KEYS = (
    "icd10cm:I10",
    "icd10cm:E11.9",
    "icd10cm:E11.65",
    "icd10cm:E11.22",
    "icd10cm:K21.9",
    "icd10cm:J18.9",
    "cpt:99213",
    "cpt:99214",
)
CAREFUL = SimulatedCoder(name="sim-careful", miss_rate=0, false_override_rate=0)
NUM_TRIALS = 2_000
REASONS = load_reasons(CONFIGS / "reasons.yaml")


def _suggestion(codes: tuple[str, ...], *, route: str = "assisted", alternative: str | None = None) -> Suggestion:
    rows: list[dict[str, object]] = []
    for rank, key in enumerate(codes, start=1):
        system, _, code = key.partition(":")
        others = [] if alternative is None else [alternative.partition(":")]
        rows.append(
            {"system": system, "code": code, "description": None, "confidence": 0.9, "rank": rank, "evidence": []}
            | {
                "alternatives": [
                    {"system": one[0], "code": one[2], "description": None, "confidence": 0.1} for one in others
                ]
            }
        )
    return Suggestion.model_validate(
        {
            "suggestion_id": "s1",
            "version": {"name": "clinical-coder", "number": 1, "alias": None, "bundle_sha256": "0" * 64},
            "route": {"decision": route, "rules": [], "record_confidence": 0.5},
            "degraded": False,
            "codes": rows,
            "trace_id": "t1",
        }
    )


def _decide(coder: SimulatedCoder, codes: tuple[str, ...], right: set[str], rng: Random, **options: str) -> Decision:
    return decide(_suggestion(codes, **options), right=frozenset(right), coder=coder, rng=rng)


def _final(decision: Decision, codes: tuple[str, ...]) -> frozenset[str]:
    return apply_decision(codes, decision=decision)


def _assert_share(happened: int, *, stated: float) -> None:
    """The stated share lies in the interval that holds it in 999 of 1,000 such runs."""
    interval = binomtest(happened, NUM_TRIALS).proportion_ci(0.999)
    assert interval.low <= stated <= interval.high


def test_a_careful_coder_finds_every_error() -> None:
    shown = ("icd10cm:I10", "icd10cm:E11.9", "cpt:99214")
    right = {"icd10cm:E11.65", "cpt:99214", "icd10cm:K21.9"}
    decision = _decide(CAREFUL, shown, right, Random(0))
    assert _final(decision, shown) == right
    said = {(code.action, code.key, code.to_key) for code in decision.codes}
    assert said == {
        (CodeAction.REJECT, "icd10cm:I10", None),
        (CodeAction.MODIFY, "icd10cm:E11.9", "icd10cm:E11.65"),
        (CodeAction.ADD, "icd10cm:K21.9", None),
    }


@pytest.mark.parametrize(
    ("shown", "right"), [(("icd10cm:J18.9",), set[str]()), ((), {"icd10cm:J18.9"})], ids=["wrong", "missing"]
)
def test_errors_are_missed_at_the_stated_rate(shown: tuple[str, ...], right: set[str]) -> None:
    coder = CAREFUL.model_copy(update={"miss_rate": 0.3})
    rng = Random(1)
    missed = sum(not _decide(coder, shown, right, rng).codes for _ in range(NUM_TRIALS))
    _assert_share(missed, stated=0.3)


def test_right_codes_are_overridden_at_the_stated_rate() -> None:
    coder = CAREFUL.model_copy(update={"false_override_rate": 0.05})
    rng, actions = Random(2), Counter[str]()
    for _ in range(NUM_TRIALS):
        decision = _decide(coder, ("icd10cm:J18.9",), {"icd10cm:J18.9"}, rng, alternative="icd10cm:J18.1")
        actions.update(code.action.value for code in decision.codes)
    _assert_share(actions.total(), stated=0.05)
    assert set(actions) == {"modify", "reject"}


HABITS = {"dropped": Habit(system="icd10cm", code="I10"), "replaced": Habit(system="icd10cm", code="I10", to="I11.9")}


@settings(deadline=None, max_examples=60)
@given(
    st.frozensets(st.sampled_from([*KEYS, "icd10cm:I11.9"])),
    st.frozensets(st.sampled_from([*KEYS, "icd10cm:I11.9"])),
    st.sampled_from(sorted(HABITS)),
    st.integers(0, 2**32),
)
def test_a_habit_is_applied_always(shown: frozenset[str], right: frozenset[str], habit: str, seed: int) -> None:
    coder = SimulatedCoder(name="sim-a", miss_rate=0.5, false_override_rate=0, habit=HABITS[habit])
    codes = tuple(sorted(shown))
    final = _final(_decide(coder, codes, set(right), Random(seed)), codes)
    assert "icd10cm:I10" not in final
    if habit == "replaced" and "icd10cm:I10" in right | shown:
        assert "icd10cm:I11.9" in final


@settings(deadline=None, max_examples=60)
@given(
    st.frozensets(st.sampled_from(KEYS)),
    st.frozensets(st.sampled_from(KEYS)),
    st.sampled_from(["assisted", "manual"]),
    st.sampled_from([None, Habit(system="icd10cm", code="E11.9", to="E11.65"), Habit(system="cpt", code="99213")]),
    st.integers(0, 2**32),
)
def test_every_decision_is_one_that_the_loop_takes(
    shown: frozenset[str], right: frozenset[str], route: str, habit: Habit | None, seed: int
) -> None:
    coder = SimulatedCoder(name="sim-a", miss_rate=0.3, false_override_rate=0.3, habit=habit)
    suggestion = _suggestion(tuple(sorted(shown)), route=route, alternative="icd10cm:J18.1")
    decision = decide(suggestion, right=right, coder=coder, rng=Random(seed))
    known = Shown("s1", suggestion.route.decision, "cardiology", None, "0" * 64, shown)
    check_decision(decision, shown=known, reasons=REASONS, systems=SYSTEMS)


def test_on_the_manual_route_all_is_coded_by_hand() -> None:
    decision = _decide(CAREFUL, ("icd10cm:I10",), {"icd10cm:I10", "cpt:99213"}, Random(0), route="manual")
    assert {(code.action, code.key) for code in decision.codes} == {
        (CodeAction.ADD, "icd10cm:I10"),
        (CodeAction.ADD, "cpt:99213"),
    }


def test_the_same_seed_gives_the_same_decision() -> None:
    coder = CAREFUL.model_copy(update={"miss_rate": 0.5, "false_override_rate": 0.5})
    first, second = (_decide(coder, KEYS[:4], set(KEYS[2:]), Random(5)) for _ in range(2))
    assert first == second


def test_a_category_is_system_and_three_characters() -> None:
    assert category("icd10cm:E11.65") == "icd10cm:E11" != category("cpt:E1165")
