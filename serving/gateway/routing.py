"""Who codes the encounter: the model alone, a coder with it, or a coder without it.

Plain rules, each named in the answer when it fires. Where several fire, the most cautious route
is taken. This module sees confidences, findings and the encounter, never a note.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clinical_coding.findings import Finding, Severity
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Encounter, Setting
from clinical_coding.suggestions import Route, RouteDecision

__all__ = ["RoutingSettings", "decide_route", "record_confidence"]

_CAUTION: Final = (RouteDecision.AUTONOMOUS, RouteDecision.ASSISTED, RouteDecision.MANUAL)
Confidence = Annotated[float, Field(ge=0, le=1)]


class RoutingSettings(BaseModel):
    """Thresholds of the route."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    autonomous_from: Confidence = 0.95
    """Record confidence from which no coder need look."""
    assisted_from: Confidence = 0.1
    """Record confidence from which the codes help a coder; below, they are withheld."""
    assisted_settings: frozenset[Setting] = frozenset({Setting.INPATIENT})
    """Settings that always need a coder, however sure the model is."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.assisted_from > self.autonomous_from:
            raise ValueError(
                f"assisted_from {self.assisted_from} must not exceed autonomous_from {self.autonomous_from}; lower it"
            )
        return self


def record_confidence(codes: Sequence[PredictedCode]) -> float:
    """How sure the model is of its least sure decision on the record.

    Each scored code is one decision: to suggest it, right with its confidence, or not to, right
    with one minus its confidence. So one code that only just reached the threshold lowers the
    record's confidence, and so does one that only just missed it.

    Returns:
        The least of these; 0 when no code is suggested, for then nothing is offered to be sure of.
    """
    if not any(code.suggested for code in codes):
        return 0.0
    return min(code.confidence if code.suggested else 1 - code.confidence for code in codes)


def decide_route(
    encounter: Encounter,
    *,
    codes: Sequence[PredictedCode],
    settings: RoutingSettings,
    findings: Sequence[Finding] = (),
    num_withheld: int = 0,
    num_queries: int = 0,
) -> Route:
    """Apply every rule and take the most cautious route.

    Args:
        encounter: The circumstances of care.
        codes: All scored codes, suggested or not, but those that were withheld.
        settings: The thresholds.
        findings: What coding rules say of the suggested codes.
        num_withheld: How many codes the model would suggest and the documentation does not support.
        num_queries: How many questions the documentation leaves to the physician.

    Returns:
        The route with the names of the rules that fired.
    """
    confidence = record_confidence(codes)
    fired: list[tuple[str, RouteDecision]] = []
    if not any(code.suggested for code in codes):
        fired.append(("no-code-suggested", RouteDecision.MANUAL))
    elif confidence < settings.assisted_from:
        fired.append(("confidence-too-low", RouteDecision.MANUAL))
    elif confidence < settings.autonomous_from:
        fired.append(("confidence-below-threshold", RouteDecision.ASSISTED))
    else:
        fired.append(("confidence-reaches-threshold", RouteDecision.AUTONOMOUS))
    if encounter.setting in settings.assisted_settings:
        fired.append((f"{encounter.setting}-needs-coder", RouteDecision.ASSISTED))
    if any(finding.severity is Severity.BLOCKING for finding in findings):
        fired.append(("blocking-finding", RouteDecision.ASSISTED))
    if num_withheld:
        # The rule and the model disagree about what the note says: a person looks.
        fired.append(("code-withheld", RouteDecision.ASSISTED))
    if num_queries:
        # Somebody has to send them, and to wait for the answer.
        fired.append(("documentation-gap", RouteDecision.ASSISTED))
    decision = max((route for _, route in fired), key=_CAUTION.index)
    return Route(decision=decision, rules=tuple(name for name, _ in fired), record_confidence=confidence)
