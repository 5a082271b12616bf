"""Every verdict on every action: what becomes positive, what negative, and what is refused."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from clinical_coding.codes import Code, CodeState, EvidenceSpan, Provenance, split_key
from clinical_coding.decisions import CodeAction, Verdict
from clinical_coding.records import Note
from clinical_coding.suggestions import SuggestedCode
from feedback.errors import InvalidError
from feedback.verdicts import (
    AdjudicationRequest,
    Answers,
    CaseKind,
    answers_to_audit,
    answers_to_override,
    carry_evidence,
    check_evidence,
    label,
)

A, B, C, D = "icd10cm:E11.9", "icd10cm:E11.65", "icd10cm:I10", "cpt:99213"
MODIFY = answers_to_override(CodeAction.MODIFY, key=A, to_key=B)
REJECT = answers_to_override(CodeAction.REJECT, key=A, to_key=None)
ADD = answers_to_override(CodeAction.ADD, key=A, to_key=None)
AUDIT = answers_to_audit([A, B])


def code(key: str, state: str = "positive", **more: Any) -> Code:
    system, written = split_key(key)
    return Code(system=system, code=written, state=CodeState(state), **more)


def ask(verdict: str, *codes: Code, given: bool | None = None) -> AdjudicationRequest:
    is_given = bool(codes) if given is None else given
    return AdjudicationRequest(
        verdict=Verdict(verdict), codes=codes if is_given else None, citation="ICD-10-CM guideline I.C.4.a"
    )


def taught(answers: Answers, asked: AdjudicationRequest) -> tuple[set[str], set[str]]:
    codes = label(answers, asked, adjudication_id="a1")
    assert all(one.provenance == Provenance(source="adjudication", adjudication_id="a1") for one in codes)
    assert all(one.weight == 1.0 for one in codes)
    by_state = {state: {one.key for one in codes if one.state is state} for state in CodeState}
    assert not by_state[CodeState.UNKNOWN]
    return by_state[CodeState.POSITIVE], by_state[CodeState.NEGATIVE]


@pytest.mark.parametrize(
    ("answers", "asked", "positive", "negative"),
    [
        (MODIFY, ask("ai-right"), {A}, {B}),
        (MODIFY, ask("coder-right"), {B}, {A}),
        (MODIFY, ask("both-wrong", code(C)), {C}, {A, B}),
        (MODIFY, ask("both-wrong", code(C), code(D), code(A, "negative")), {C, D}, {A, B}),
        (REJECT, ask("ai-right"), {A}, set()),
        (REJECT, ask("coder-right"), set(), {A}),
        (MODIFY, ask("both-wrong", given=True), set(), {A, B}),
        (MODIFY, ask("both-wrong", code(C, "negative")), set(), {A, B, C}),
        (REJECT, ask("both-wrong", code(C)), {C}, {A}),
        (ADD, ask("ai-right"), set(), {A}),
        (ADD, ask("coder-right"), {A}, set()),
        (ADD, ask("both-wrong", code(C), code(D, "negative")), {C}, {A, D}),
        (AUDIT, ask("ai-right"), {A, B}, set()),
        (AUDIT, ask("both-wrong", code(A), code(C)), {A, C}, {B}),
        (AUDIT, ask("both-wrong", given=True), set(), {A, B}),
        (answers_to_audit([]), ask("ai-right"), set(), set()),
        (answers_to_audit([]), ask("both-wrong", code(C)), {C}, set()),
        *((answers, ask("policy-unclear"), set(), set()) for answers in (MODIFY, REJECT, ADD, AUDIT)),
        # Codes that say what the verdict says anyway.
        (MODIFY, ask("ai-right", code(A)), {A}, {B}),
        (MODIFY, ask("coder-right", code(A, "negative"), code(B)), {B}, {A}),
        (AUDIT, ask("ai-right", code(B)), {A, B}, set()),
        (MODIFY, ask("policy-unclear", given=True), set(), set()),
    ],
)
def test_a_verdict_labels_both_answers(
    answers: Answers, asked: AdjudicationRequest, positive: set[str], negative: set[str]
) -> None:
    assert taught(answers, asked) == (positive, negative)


@pytest.mark.parametrize(
    ("answers", "asked", "remedy"),
    [
        (MODIFY, ask("both-wrong"), "must name a correct code"),
        (REJECT, ask("both-wrong", given=True), "said by coder-right"),
        (ADD, ask("both-wrong", given=True), "said by ai-right"),
        (MODIFY, ask("both-wrong", code(A)), "choose ai-right"),
        (MODIFY, ask("both-wrong", code(B), code(C)), "choose coder-right"),
        (MODIFY, ask("ai-right", code(B)), f"{A} is positive and {B} is negative"),
        (MODIFY, ask("ai-right", code(A, "negative")), "choose both-wrong"),
        (MODIFY, ask("coder-right", code(C)), "choose both-wrong"),
        (REJECT, ask("coder-right", code(A)), f"{A} is negative"),
        (MODIFY, ask("policy-unclear", code(A)), "must be left out"),
        (AUDIT, ask("coder-right"), "expected ai-right, both-wrong"),
        (AUDIT, ask("both-wrong"), "every code that stands"),
        (AUDIT, ask("both-wrong", code(B), code(A)), "choose ai-right"),
        (answers_to_audit([]), ask("both-wrong", given=True), "choose ai-right"),
        (MODIFY, ask("both-wrong", code(C), code(C, "negative")), "twice"),
        (MODIFY, ask("both-wrong", code(C, "unknown")), "expected positive or negative"),
        (MODIFY, ask("both-wrong", code(C, weight=5.0)), "expected 1"),
    ],
)
def test_a_contradiction_is_refused_with_what_fits(answers: Answers, asked: AdjudicationRequest, remedy: str) -> None:
    with pytest.raises(InvalidError, match=remedy):
        label(answers, asked, adjudication_id="a1")


keys = st.sampled_from([A, B, C, D, "icd10cm:R07.9", "hcpcs:J1885"])
given_codes = st.lists(
    st.builds(code, keys, st.sampled_from(["positive", "negative"])), max_size=4, unique_by=lambda one: one.key
)


@st.composite
def cases(draw: st.DrawFn) -> Answers:
    if draw(st.booleans()):
        return answers_to_audit(draw(st.sets(keys, max_size=4)))
    action = draw(st.sampled_from([CodeAction.MODIFY, CodeAction.REJECT, CodeAction.ADD]))
    key, other = draw(st.lists(keys, min_size=2, max_size=2, unique=True))
    return answers_to_override(action, key=key, to_key=other if action is CodeAction.MODIFY else None)


@given(cases(), st.sampled_from(Verdict), st.none() | given_codes)
def test_whatever_is_accepted_is_consistent(answers: Answers, verdict: Verdict, codes: list[Code] | None) -> None:
    asked = ask(verdict.value, *(codes or ()), given=codes is not None)
    try:
        positive, negative = taught(answers, asked)
    except InvalidError:
        assume(False)
    assert not positive & negative
    either = answers.ai | answers.coder
    if verdict is Verdict.POLICY_UNCLEAR:
        assert not positive | negative
        return
    # Every code in dispute is settled, and what was given is in the outcome as it was given.
    assert either <= positive | negative
    for one in codes or ():
        assert one.key in (positive if one.state is CodeState.POSITIVE else negative)
    if verdict is Verdict.AI_RIGHT:
        assert positive == answers.ai
    elif verdict is Verdict.CODER_RIGHT:
        assert positive == answers.coder != answers.ai
    elif answers.kind is CaseKind.OVERRIDE:
        # Where one side says that no code belongs here, both can be wrong only if another does.
        assert positive or (answers.ai and answers.coder)
        assert not positive & either
    else:
        assert positive != either


@given(cases(), st.sampled_from(Verdict))
def test_a_verdict_that_needs_no_codes_never_fails(answers: Answers, verdict: Verdict) -> None:
    assume(verdict is not Verdict.BOTH_WRONG)
    assume(not (verdict is Verdict.CODER_RIGHT and answers.kind is CaseKind.AUDIT))
    once = label(answers, ask(verdict.value), adjudication_id="a1")
    again = label(answers, ask(verdict.value, *once) if once else ask(verdict.value), adjudication_id="a1")
    assert once == again


def test_what_was_given_keeps_its_evidence_and_modifiers_but_no_claimed_source() -> None:
    mine = code(
        D, modifiers=("25",), evidence=(EvidenceSpan(note_id="n1", start=1, end=3),), release="2019",
        provenance=Provenance(source="adjudication", adjudication_id="forged"),
    )  # fmt: skip
    (kept, *_) = label(MODIFY, ask("both-wrong", mine), adjudication_id="a1")
    assert (kept.key, kept.modifiers, kept.evidence) == (D, ("25",), mine.evidence)
    assert kept.provenance.adjudication_id == "a1"
    assert kept.release is None


def suggested(*spans: tuple[str, int, int]) -> SuggestedCode:
    evidence = [{"note_id": note_id, "start": start, "end": end, "text": "-"} for note_id, start, end in spans]
    return SuggestedCode.model_validate(
        {"system": "icd10cm", "code": "E11.9", "description": None, "confidence": 0.9, "rank": 1}
        | {"evidence": evidence, "alternatives": []}
    )


def test_evidence_is_carried_over_to_positive_codes_alone_and_joined_where_it_overlaps() -> None:
    model = [suggested(("n2", 0, 4), ("n1", 5, 9), ("n1", 0, 6), ("n1", 9, 12))]
    positive, other, negative = carry_evidence([code(A), code(B), code(A, "negative")], suggested=model)
    assert [(span.note_id, span.start, span.end) for span in positive.evidence] == [
        ("n1", 0, 9), ("n1", 9, 12), ("n2", 0, 4),
    ]  # fmt: skip
    assert other.evidence == negative.evidence == ()
    own = (EvidenceSpan(note_id="n1", start=2, end=3),)
    assert carry_evidence([code(A, evidence=own)], suggested=model)[0].evidence == own


@pytest.mark.parametrize("span", [("n1", 0, 4), ("n2", 0, 1)])
def test_evidence_beyond_the_notes_is_refused(span: tuple[str, int, int]) -> None:
    note_id, start, end = span
    codes = [code(A, evidence=(EvidenceSpan(note_id=note_id, start=start, end=end),))]
    check_evidence(
        [code(A, evidence=(EvidenceSpan(note_id="n1", start=0, end=3),))], notes=[Note(note_id="n1", text="abc")]
    )
    with pytest.raises(InvalidError, match="beyond the notes"):
        check_evidence(codes, notes=[Note(note_id="n1", text="abc")])


@pytest.mark.parametrize("citation", ["", "  \n ", "x" * 2001, "a\x00b", "\x1b[2J", "\ud800"])
def test_a_citation_is_some_plain_text(citation: str) -> None:
    with pytest.raises(ValidationError):
        AdjudicationRequest(verdict=Verdict.AI_RIGHT, citation=citation)


def test_a_citation_may_be_long_and_of_any_language() -> None:
    text = "Coding Clinic 2023 Q4 §3\u00a0—\nRichtlinie I.C.4.a"
    assert AdjudicationRequest(verdict=Verdict.AI_RIGHT, citation=f" {text} ").citation == text
    assert len(AdjudicationRequest(verdict=Verdict.AI_RIGHT, citation="x" * 2000).citation) == 2000
