"""Simulated supervisors: what somebody who knows the truth, and is mostly right, says of a case (stage 9).

Pure: case, truth, supervisor and a seeded generator in, a verdict out.
"""

from collections.abc import Iterable
from random import Random
from typing import Final

from clinical_coding.codes import Code, split_key
from clinical_coding.decisions import Verdict
from feedback.case_view import CaseView
from feedback.simulation.coders import category
from feedback.simulation.settings import SimulatedSupervisor
from feedback.verdicts import AdjudicationRequest, Answers, answers_to_audit, answers_to_override

__all__ = ["judge", "right_verdict"]

CITATION: Final = "Simulated verdict, drawn from the truth of a sample record."
_MISTAKEN: Final = {
    Verdict.AI_RIGHT: Verdict.CODER_RIGHT,
    Verdict.CODER_RIGHT: Verdict.AI_RIGHT,
    Verdict.BOTH_WRONG: Verdict.CODER_RIGHT,
    Verdict.POLICY_UNCLEAR: Verdict.CODER_RIGHT,
}
"""What a supervisor who errs says of an override in the place of the right verdict."""


def judge(
    case: CaseView, *, right: frozenset[str], supervisor: SimulatedSupervisor, rng: Random
) -> AdjudicationRequest:
    """Judge as the supervisor would.

    Args:
        case: An override, or an audit.
        right: Label keys of the codes that belong on the record.
        supervisor: Whose accuracy.
        rng: Draws whether the verdict is right; the same state gives the same verdict.
    """
    errs = rng.random() >= supervisor.accuracy
    if case.answer is None:
        return _judge_audit(frozenset(code.key for code in case.final_codes), right=right, errs=errs)
    answer = case.answer
    answers = answers_to_override(answer.action, key=answer.code.key, to_key=answer.to.key if answer.to else None)
    verdict = right_verdict(answers, right=right)
    if errs:
        verdict = _MISTAKEN[verdict]
    return _request(verdict, _correct(answers, right=right) if verdict is Verdict.BOTH_WRONG else None)


def right_verdict(answers: Answers, *, right: frozenset[str]) -> Verdict:
    """The verdict on an override that the truth demands.

    Returns:
        Policy-unclear where neither side can be said to be right alone: both codes belong on the record,
        or neither does and no other code could have been meant.
    """
    ai_stands, coder_stands = answers.ai <= right, answers.coder <= right
    if not answers.ai or not answers.coder:
        # One side says that no code belongs here; it is right when the other's code does not.
        named_stands = ai_stands and coder_stands
        return Verdict.AI_RIGHT if named_stands == bool(answers.ai) else Verdict.CODER_RIGHT
    if ai_stands != coder_stands:
        return Verdict.AI_RIGHT if ai_stands else Verdict.CODER_RIGHT
    is_told = not ai_stands and _correct(answers, right=right)
    return Verdict.BOTH_WRONG if is_told else Verdict.POLICY_UNCLEAR


def _correct(answers: Answers, *, right: frozenset[str]) -> frozenset[str]:
    """The right codes that could have been meant: of the category of either answer."""
    meant = {category(key) for key in answers.ai | answers.coder}
    return frozenset(key for key in right if category(key) in meant)


def _judge_audit(final: frozenset[str], *, right: frozenset[str], errs: bool) -> AdjudicationRequest:
    is_right = answers_to_audit(final).ai == right
    if is_right != errs:
        return _request(Verdict.AI_RIGHT, None)
    # Who errs on a right record leaves one of its codes out.
    return _request(Verdict.BOTH_WRONG, sorted(right)[1:] if is_right else right)


def _request(verdict: Verdict, correct: Iterable[str] | None) -> AdjudicationRequest:
    codes = None
    if correct is not None:
        pairs = (split_key(key) for key in sorted(correct))
        codes = tuple(Code(system=system, code=code) for system, code in pairs)
    return AdjudicationRequest(verdict=verdict, codes=codes, citation=CITATION)
