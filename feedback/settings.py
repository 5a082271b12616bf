"""How feedback is gathered (stages 8 to 10): shares drawn for audit, claims, the order of the queue, reason codes.

Read from ``configs/feedback.yaml`` and ``configs/reasons.yaml``, which hold values only. This module
does not know what is done with them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clinical_coding.decisions import CodeAction, ReasonCode
from clinical_coding.settings_file import load_settings
from feedback.errors import InvalidError

__all__ = ["FeedbackSettings", "Reason", "ReasonCodes", "load_feedback", "load_reasons"]

Share = Annotated[float, Field(ge=0, le=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FeedbackSettings(_Model):
    """What is drawn for audit, how long a claim lasts, what supervisors see first."""

    accepted_share: Share
    """Chance that a suggestion which a coder let stand whole is drawn for audit."""
    autonomous_share: Share
    """Chance that a suggestion which no coder saw is drawn for audit."""
    first_year_accepted_share: Share
    """The former, while the service line is young."""
    first_year_autonomous_share: Share
    """The latter, while the service line is young."""
    first_year_days: Annotated[int, Field(ge=0, le=36_500)]
    """How long a service line, which is a specialty, is young: days since its first stored suggestion."""
    claim_minutes: Annotated[float, Field(gt=0, le=10_080)]
    """How long a supervisor holds a claimed case."""
    audit_priority: int
    """Place of audit draws in the queue, the lowest number first. A random sample tells the error
    rate only when all of it is looked at, so that it had better not wait behind every override."""
    override_priority: int
    """Place of overrides in the queue, the lowest number first."""

    @model_validator(mode="after")
    def _young_lines_are_watched_more(self) -> Self:
        for stratum in ("accepted", "autonomous"):
            usual, young = getattr(self, f"{stratum}_share"), getattr(self, f"first_year_{stratum}_share")
            if young < usual:
                raise ValueError(
                    f"first_year_{stratum}_share {young} must not be less than {stratum}_share {usual}; raise it"
                )
        return self


class Reason(_Model):
    """One reason for differing from a suggestion."""

    text: Annotated[str, Field(min_length=1)]
    """For people."""
    actions: Annotated[frozenset[CodeAction], Field(min_length=1)]
    """The actions that it can be given for."""

    @model_validator(mode="after")
    def _differs(self) -> Self:
        if CodeAction.ACCEPT in self.actions:
            raise ValueError("actions must not hold 'accept', which needs no reason; leave it out")
        return self


class ReasonCodes(_Model):
    """All reasons that a coder can give."""

    reasons: Annotated[Mapping[ReasonCode, Reason], Field(min_length=1)]
    """By reason code."""

    @model_validator(mode="after")
    def _every_action_has_one(self) -> Self:
        for action in CodeAction:
            if action is not CodeAction.ACCEPT and not self.fitting(action):
                raise ValueError(f"reasons must hold one for action {action.value!r} at least; add one")
        return self

    def fitting(self, action: CodeAction) -> tuple[str, ...]:
        """The reason codes that fit an action, in the order of the file."""
        return tuple(code for code, reason in self.reasons.items() if action in reason.actions)

    def require(self, reason: str | None, *, action: CodeAction, field: str) -> None:
        """See to it that a reason is known and fits.

        Args:
            reason: What was given.
            action: What it was given for.
            field: Where, for the message: ``codes.0.reason``.

        Raises:
            InvalidError: It is unknown or fits other actions only.
        """
        if action is CodeAction.ACCEPT:
            if reason is not None:
                raise InvalidError(f"{field} must be left out for action 'accept'; a code that stands needs none")
            return
        known = self.reasons.get(reason) if reason is not None else None
        if known is None or action not in known.actions:
            problem = "is not a reason code" if known is None else f"does not fit action {action.value!r}"
            raise InvalidError(f"{field} {reason!r} {problem}; choose one of {', '.join(self.fitting(action))}")


def load_feedback(path: Path) -> FeedbackSettings:
    """Read how feedback is gathered.

    Raises:
        ValueError: The file is missing, is not YAML, or has a missing, wrong or unknown field.
    """
    return load_settings(path, FeedbackSettings)


def load_reasons(path: Path) -> ReasonCodes:
    """Read the reason codes.

    Raises:
        ValueError: The file is missing, is not YAML, or has a missing, wrong or unknown field.
    """
    return load_settings(path, ReasonCodes)
