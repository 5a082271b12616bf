"""Simulated supervisors are right as often as stated, and never give a verdict that the loop would refuse."""

from collections.abc import Callable, Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sqlalchemy import Engine

from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeState
from clinical_coding.decisions import CodeAction, Verdict
from feedback.case_view import CaseView
from feedback.queue import next_case
from feedback.settings import FeedbackSettings
from feedback.simulation.settings import SimulatedSupervisor
from feedback.simulation.supervisors import judge, right_verdict
from feedback.verdicts import answers_to_audit, answers_to_override, label
from ledger.principals import Principal

SYSTEMS = CodeSystems.embedded()

INFALLIBLE = SimulatedSupervisor(name="sim-supervisor", accuracy=1, weekly_capacity=1)
KEYS = ("icd10cm:I10", "icd10cm:E11.9", "icd10cm:E11.65", "icd10cm:E11.22", "cpt:99213", "cpt:99214")
A, B = "icd10cm:E11.9", "icd10cm:E11.65"


@pytest.mark.parametrize(
    ("action", "to", "right", "verdict"),
    [
        (CodeAction.REJECT, None, {A}, Verdict.AI_RIGHT),
        (CodeAction.REJECT, None, set[str](), Verdict.CODER_RIGHT),
        (CodeAction.ADD, None, {A}, Verdict.CODER_RIGHT),
        (CodeAction.ADD, None, {B}, Verdict.AI_RIGHT),
        (CodeAction.MODIFY, B, {A}, Verdict.AI_RIGHT),
        (CodeAction.MODIFY, B, {B}, Verdict.CODER_RIGHT),
        (CodeAction.MODIFY, B, {"icd10cm:E11.22"}, Verdict.BOTH_WRONG),
        (CodeAction.MODIFY, B, {"icd10cm:I10"}, Verdict.POLICY_UNCLEAR),
        (CodeAction.MODIFY, B, {A, B}, Verdict.POLICY_UNCLEAR),
    ],
)
def test_the_right_verdict(action: CodeAction, to: str | None, right: set[str], verdict: Verdict) -> None:
    assert right_verdict(answers_to_override(action, key=A, to_key=to), right=frozenset(right)) is verdict


def _case(kind: str, *, action: str = "reject", to: str | None = None, final: tuple[str, ...] = ()) -> CaseView:
    named = [dict(zip(("system", "code"), key.split(":"), strict=True), description=None) for key in final]
    target = None if to is None else {"system": "icd10cm", "code": to.partition(":")[2], "description": None}
    answer = {"action": action, "code": {"system": "icd10cm", "code": "E11.9", "description": None}, "to": target}
    return CaseView.model_validate(
        {
            "case_id": "c1",
            "kind": kind,
            "suggestion_id": "s1",
            "opened_at": "2026-05-01T00:00:00Z",
            "is_open": True,
            "claimed_until": None,
            "is_yours": True,
            "adjudication_id": None,
            "version": {"name": "clinical-coder", "number": 1, "alias": None, "bundle_sha256": "0" * 64},
            "route": "assisted",
            "record_id": "r1",
            "encounter": {"setting": "outpatient", "specialty": "cardiology"},
            "notes": [{"note_id": "n1", "text": "Diabetes."}],
            "suggested": [],
            "findings": [],
            "answer": answer | {"reason": "facility-policy"} if kind == "override" else None,
            "final_codes": named,
        }
    )


def test_verdicts_are_right_as_often_as_stated() -> None:
    supervisor = INFALLIBLE.model_copy(update={"accuracy": 0.9})
    rng, num_trials = Random(3), 2_000
    said = [
        judge(_case("override"), right=frozenset({A}), supervisor=supervisor, rng=rng).verdict
        for _ in range(num_trials)
    ]
    interval = binomtest(said.count(Verdict.AI_RIGHT), num_trials).proportion_ci(0.999)
    assert interval.low <= 0.9 <= interval.high
    assert set(said) == {Verdict.AI_RIGHT, Verdict.CODER_RIGHT}


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([("reject", None), ("add", None), ("modify", B)]),
    st.frozensets(st.sampled_from(KEYS)),
    st.sampled_from([0.0, 1.0]),
)
def test_every_verdict_on_an_override_is_one_that_the_loop_takes(
    done: tuple[str, str | None], right: frozenset[str], accuracy: float
) -> None:
    action, to = done
    supervisor = INFALLIBLE.model_copy(update={"accuracy": accuracy})
    asked = judge(_case("override", action=action, to=to), right=right, supervisor=supervisor, rng=Random(0))
    codes = label(answers_to_override(CodeAction(action), key=A, to_key=to), asked, adjudication_id="a1")
    if accuracy == 1.0:
        assert {code.key for code in codes if code.state is CodeState.POSITIVE} <= right
        assert right.isdisjoint(code.key for code in codes if code.state is CodeState.NEGATIVE)


@settings(deadline=None, max_examples=60)
@given(st.frozensets(st.sampled_from(KEYS)), st.frozensets(st.sampled_from(KEYS), min_size=1))
def test_an_infallible_audit_finds_the_whole_truth(final: frozenset[str], right: frozenset[str]) -> None:
    asked = judge(_case("audit", final=tuple(final)), right=right, supervisor=INFALLIBLE, rng=Random(0))
    codes = label(answers_to_audit(final), asked, adjudication_id="a1")
    assert {code.key for code in codes if code.state is CodeState.POSITIVE} == right


@settings(deadline=None, max_examples=60)
@given(st.frozensets(st.sampled_from(KEYS)), st.frozensets(st.sampled_from(KEYS), min_size=1))
def test_a_mistaken_audit_is_wrong_and_well_formed(final: frozenset[str], right: frozenset[str]) -> None:
    mistaken = INFALLIBLE.model_copy(update={"accuracy": 0})
    asked = judge(_case("audit", final=tuple(final)), right=right, supervisor=mistaken, rng=Random(0))
    codes = label(answers_to_audit(final), asked, adjudication_id="a1")
    assert {code.key for code in codes if code.state is CodeState.POSITIVE} != right


def test_a_real_case_is_judged(
    engine: Engine,
    people: Mapping[str, Principal],
    override: Callable[..., str],
    feedback_settings: FeedbackSettings,
) -> None:
    override()
    case = next_case(engine, principal=people["supervisor"], settings=feedback_settings, systems=SYSTEMS)
    assert case is not None and case.answer is not None
    right = frozenset(f"{code.system}:{code.code}" for code in case.suggested)
    asked = judge(case, right=right, supervisor=INFALLIBLE, rng=Random(0))
    assert asked.verdict in (Verdict.AI_RIGHT, Verdict.POLICY_UNCLEAR)
