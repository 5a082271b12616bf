"""What people say of a suggestion: a coder's decision, a supervisor's adjudication (stages 8, 9)."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from clinical_coding.artefact import Artefact
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.records import SCHEMA_VERSION, Identifier

__all__ = ["Adjudication", "CodeAction", "CodeDecision", "Decision", "Verdict"]


class CodeAction(StrEnum):
    """What a coder did with one code."""

    ACCEPT = "accept"
    MODIFY = "modify"
    REJECT = "reject"
    ADD = "add"


class CodeDecision(Artefact):
    """A coder's action on one code."""

    action: CodeAction
    system: CodeSystem
    code: str
    """The suggested code, or the added one."""
    to: str | None = None
    """The code that takes its place, when modified."""
    reason: str | None = None
    """A reason code; required unless the code is accepted."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.action is CodeAction.MODIFY) != (self.to is not None):
            raise ValueError("to must be given for action 'modify', and for no other action")
        if self.action is not CodeAction.ACCEPT and not self.reason:
            raise ValueError(f"reason must be given for action {self.action.value!r}; name a reason code")
        return self


class Decision(Artefact):
    """A coder's answer to a suggestion: codes decided, or escalated, or deferred pending a query."""

    schema_version: Literal[1] = SCHEMA_VERSION
    suggestion_id: Identifier
    outcome: Literal["decided", "escalated", "deferred"] = "decided"
    codes: tuple[CodeDecision, ...] = ()
    seconds_spent: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _codes_only_when_decided(self) -> Self:
        if self.outcome != "decided" and self.codes:
            raise ValueError(f"codes must be empty when outcome is {self.outcome!r}")
        return self


class Verdict(StrEnum):
    """Who was right."""

    AI_RIGHT = "ai-right"
    CODER_RIGHT = "coder-right"
    BOTH_WRONG = "both-wrong"
    POLICY_UNCLEAR = "policy-unclear"


class Adjudication(Artefact):
    """A supervisor's verdict on an override, or on what a random audit drew."""

    schema_version: Literal[1] = SCHEMA_VERSION
    adjudication_id: Identifier
    override_id: Identifier | None = None
    audit_draw_id: Identifier | None = None
    verdict: Verdict
    codes: tuple[Code, ...]
    """The correct codes, each with its state."""
    citation: Annotated[str, Field(min_length=1)]
    """The guideline or coding clinic that the verdict rests on."""
    round: Annotated[int, Field(ge=1)] = 1
    blinded: bool = False
    adjudicated_at: datetime

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.override_id is None) == (self.audit_draw_id is None):
            raise ValueError("override_id or audit_draw_id must be given, and not both")
        return self
