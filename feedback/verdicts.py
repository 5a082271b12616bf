"""What a verdict teaches: from the two answers of a case to codes that are positive or negative (stage 9).

Pure. A case sets the model's answer against the coder's, as sets of label keys. On an override they
differ in one code; on an audit they are the same, and the supervisor judges the whole encounter.

    verdict          positive             negative
    ai-right         the model's          the coder's other ones
    coder-right      the coder's          the model's other ones     (overrides only)
    both-wrong       the codes given      what either answered, unless given; an empty list says that none is right
    policy-unclear   none                 none: it never trains

It knows no database, and does not judge whether a code exists (``feedback.code_validity``).
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints, field_validator

from clinical_coding.artefact import Artefact
from clinical_coding.codes import Code, CodeState, EvidenceSpan, Provenance, split_key
from clinical_coding.decisions import CodeAction, Verdict
from clinical_coding.records import Note
from clinical_coding.suggestions import SuggestedCode
from feedback.errors import InvalidError

__all__ = [
    "AdjudicationRequest",
    "Answers",
    "CaseKind",
    "answers_to_audit",
    "answers_to_override",
    "carry_evidence",
    "check_evidence",
    "label",
]

MAX_CITATION_CHARACTERS: Final = 2_000
MAX_CODES: Final = 200
# Control characters and halves of a pair, which databases and terminals trip over.
_UNFIT: Final = ("Cc", "Cs")


class CaseKind(StrEnum):
    """Why a case lies in the queue."""

    OVERRIDE = "override"
    """A coder contradicted the model in one code."""
    AUDIT = "audit"
    """A suggestion that stood unchallenged was drawn at random."""


class AdjudicationRequest(Artefact):
    """A supervisor's verdict on a case, as it is sent."""

    verdict: Verdict
    codes: Annotated[tuple[Code, ...], Field(max_length=MAX_CODES)] | None = None
    """The correct codes. Both-wrong needs them (of an audit: all that stand on the encounter); where the
    verdict says them already, they may be left out."""
    citation: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_CITATION_CHARACTERS)]
    """The guideline or coding clinic that the verdict rests on."""

    @field_validator("citation")
    @classmethod
    def _plain_text(cls, value: str) -> str:
        if any(unicodedata.category(character) in _UNFIT and character not in "\n\r\t" for character in value):
            raise ValueError("citation must be plain text, without control characters")
        return value


@dataclass(frozen=True, slots=True)
class Answers:
    """What the two sides say should stand, as label keys."""

    kind: CaseKind
    ai: frozenset[str]
    coder: frozenset[str]


def answers_to_override(action: CodeAction, *, key: str, to_key: str | None) -> Answers:
    """Set the model against the coder who overrode it in one code.

    Args:
        action: Modify, reject or add.
        key: The suggested code, or the added one.
        to_key: What took its place, when modified.
    """
    ai = frozenset() if action is CodeAction.ADD else frozenset({key})
    coder = {CodeAction.MODIFY: to_key, CodeAction.REJECT: None, CodeAction.ADD: key}[action]
    return Answers(CaseKind.OVERRIDE, ai, frozenset() if coder is None else frozenset({coder}))


def answers_to_audit(final_keys: Iterable[str]) -> Answers:
    """Take what stood on an audited suggestion for the answer of both."""
    final = frozenset(final_keys)
    return Answers(CaseKind.AUDIT, final, final)


def label(answers: Answers, asked: AdjudicationRequest, *, adjudication_id: str) -> tuple[Code, ...]:
    """Turn a verdict into codes with their state.

    Args:
        answers: The case.
        asked: The verdict.
        adjudication_id: Becomes the provenance of each code.

    Returns:
        Positive codes first, each part sorted by key; none where the policy is unclear. A code that
        was given keeps its evidence and modifiers.

    Raises:
        InvalidError: Verdict and codes contradict each other, or the case; the message says what fits.
    """
    given = _given(asked.codes or ())
    if asked.verdict is Verdict.POLICY_UNCLEAR:
        if given:
            raise InvalidError("codes must be left out for policy-unclear, which teaches nothing; or choose a verdict")
        return ()
    positive, negative = _judge(answers, asked, given=given)
    states = dict.fromkeys(sorted(positive), CodeState.POSITIVE) | dict.fromkeys(sorted(negative), CodeState.NEGATIVE)
    provenance = Provenance(source="adjudication", adjudication_id=adjudication_id)
    return tuple(_labelled(key, state, given.get(key), provenance=provenance) for key, state in states.items())


def _judge(
    answers: Answers, asked: AdjudicationRequest, *, given: Mapping[str, Code]
) -> tuple[frozenset[str], frozenset[str]]:
    """Positive and negative label keys; the two share none."""
    match asked.verdict:
        case Verdict.BOTH_WRONG:
            return _both_wrong(answers, given, is_given=asked.codes is not None)
        case Verdict.CODER_RIGHT if answers.kind is CaseKind.AUDIT:
            raise InvalidError(
                "verdict coder-right does not fit an audit, where coder and model agreed; "
                "expected ai-right, both-wrong with the correct codes, or policy-unclear"
            )
        case Verdict.CODER_RIGHT:
            right, wrong = answers.coder, answers.ai - answers.coder
        case _:
            right, wrong = answers.ai, answers.coder - answers.ai
    for key, code in given.items():
        if key not in (right if code.state is CodeState.POSITIVE else wrong):
            raise InvalidError(
                f"codes hold {key} as {code.state}, but {asked.verdict} says {_say(right, wrong)}; "
                "leave codes out, or choose both-wrong"
            )
    return right, wrong


def _both_wrong(
    answers: Answers, given: Mapping[str, Code], *, is_given: bool
) -> tuple[frozenset[str], frozenset[str]]:
    either = answers.ai | answers.coder
    positive = frozenset(key for key, code in given.items() if code.state is CodeState.POSITIVE)
    negative = (either | given.keys()) - positive
    if answers.kind is CaseKind.AUDIT:
        if not is_given:
            raise InvalidError("codes must be given for both-wrong: every code that stands on the encounter")
        if positive == either:
            raise InvalidError("codes are those that stood on the suggestion; choose ai-right")
    elif claimed := sorted(positive & either):
        right = "ai-right" if claimed[0] in answers.ai else "coder-right"
        raise InvalidError(f"codes hold {claimed[0]} as positive, but both-wrong says it is wrong; choose {right}")
    elif not positive and not (is_given and answers.ai and answers.coder):
        same = " (that no code is right is said by coder-right)" if not answers.coder else ""
        same = " (that no code is right is said by ai-right)" if not answers.ai else same
        same = same or ", or be given empty where no code is right"
        raise InvalidError(f"codes must name a correct code for both-wrong, state positive{same}")
    return positive, negative


def _given(codes: Sequence[Code]) -> dict[str, Code]:
    given: dict[str, Code] = {}
    for code in codes:
        if code.key in given:
            raise InvalidError(f"codes hold {code.key} twice; name each code once")
        if code.state is CodeState.UNKNOWN:
            raise InvalidError(f"codes hold {code.key} as unknown; expected positive or negative, or leave it out")
        if code.weight != 1.0:
            raise InvalidError(
                f"codes hold {code.key} with weight {code.weight}; expected 1, every verdict counts alike"
            )
        given[code.key] = code
    return given


def _labelled(key: str, state: CodeState, given: Code | None, *, provenance: Provenance) -> Code:
    if given is not None:
        return given.model_copy(update={"state": state, "release": None, "provenance": provenance})
    system, code = split_key(key)
    return Code(system=system, code=code, state=state, provenance=provenance)


def _say(positive: Iterable[str], negative: Iterable[str]) -> str:
    clauses = [f"{key} is positive" for key in sorted(positive)] + [f"{key} is negative" for key in sorted(negative)]
    return " and ".join(clauses) or "no code stands"


def check_evidence(codes: Iterable[Code], *, notes: Sequence[Note]) -> None:
    """See to it that evidence which a supervisor gave lies within the notes of the case.

    Raises:
        InvalidError: It does not.
    """
    lengths = {note.note_id: len(note.text) for note in notes}
    for code in codes:
        for span in code.evidence:
            if span.end > lengths.get(span.note_id, 0):
                raise InvalidError(
                    f"evidence of {code.key} ends at {span.end}, beyond the notes of this case; "
                    "give note_id and offsets as the case shows them"
                )


def carry_evidence(codes: Iterable[Code], *, suggested: Iterable[SuggestedCode]) -> tuple[Code, ...]:
    """Give positive codes without evidence the spans with which the model suggested them."""
    spans = {f"{code.system}:{code.code}": _merge(code.evidence) for code in suggested}
    return tuple(
        code.model_copy(update={"evidence": spans[code.key]})
        if code.state is CodeState.POSITIVE and not code.evidence and code.key in spans
        else code
        for code in codes
    )


def _merge(spans: Iterable[EvidenceSpan]) -> tuple[EvidenceSpan, ...]:
    """Join spans that overlap, as codes on a record must not have them."""
    merged: list[EvidenceSpan] = []
    for span in sorted(spans, key=lambda span: (span.note_id, span.start)):
        last = merged[-1] if merged else None
        if last is not None and last.note_id == span.note_id and span.start < last.end:
            merged[-1] = EvidenceSpan(note_id=last.note_id, start=last.start, end=max(last.end, span.end))
        else:
            merged.append(EvidenceSpan(note_id=span.note_id, start=span.start, end=span.end))
    return tuple(merged)
