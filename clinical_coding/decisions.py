"""What people say of a suggestion: a coder's decision, a supervisor's adjudication (stages 8, 9).

A decision has no free text: clinical words in it would go where only ids and codes may.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from clinical_coding.artefact import Artefact
from clinical_coding.codes import Code, CodeSystem, normalise_code
from clinical_coding.records import SCHEMA_VERSION, Identifier

__all__ = ["Adjudication", "CodeAction", "CodeDecision", "Decision", "ReasonCode", "Verdict"]

# No claim form holds as many; it bounds what one decision may cost.
MAX_CODES: Final = 500
ReasonCode = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=64)]


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
    """The suggested code, or the added one; put into its usual form when read."""
    to: str | None = None
    """The code that takes its place, when modified; likewise."""
    reason: ReasonCode | None = None
    """A reason code; required unless the code is accepted."""

    @field_validator("code", "to")
    @classmethod
    def _usual_form(cls, value: str | None, info: ValidationInfo) -> str | None:
        # Where the system is wrong, that is what is told.
        if value is None or "system" not in info.data:
            return value
        return normalise_code(info.data["system"], value)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.action is CodeAction.MODIFY) != (self.to is not None):
            raise ValueError("to must be given for action 'modify', and for no other action")
        if self.action is not CodeAction.ACCEPT and not self.reason:
            raise ValueError(f"reason must be given for action {self.action.value!r}; name a reason code")
        return self

    @property
    def key(self) -> str:
        """The label key of the code: ``icd10cm:I21.4``."""
        return f"{self.system}:{self.code}"

    @property
    def to_key(self) -> str | None:
        """The label key of the code that takes its place."""
        return None if self.to is None else f"{self.system}:{self.to}"


class Decision(Artefact):
    """A coder's answer to a suggestion: codes decided, or escalated, or deferred pending a query."""

    schema_version: Literal[1] = SCHEMA_VERSION
    suggestion_id: Identifier
    outcome: Literal["decided", "escalated", "deferred"] = "decided"
    codes: Annotated[tuple[CodeDecision, ...], Field(max_length=MAX_CODES)] = ()
    """Suggested codes that are not mentioned are accepted."""
    seconds_spent: Annotated[float, Field(ge=0)]
    """How long the coder took."""

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
