"""What a routing rule may look at: codes, findings, encounter, working DRG, and the policy's words in the notes.

Nothing here judges; what is not known is None, and the rules say what follows from that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final

from clinical_coding.codes import CodeSystem
from clinical_coding.findings import Finding, Severity
from clinical_coding.grouping.groupings import Grouping
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Encounter
from clinical_coding.visit_levels import level_of

__all__ = ["RoutingFacts", "record_confidence"]

_EMERGENCY_FAMILY: Final = "emergency department"
# CPT's section of surgery (10004 to 69990); evaluation, imaging and laboratory are no procedures of a same-day case.
_SURGERY: Final = ("10004", "69990")


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


@dataclass(frozen=True)
class RoutingFacts:
    """One encounter as the routing rules see it."""

    encounter: Encounter
    codes: Sequence[PredictedCode]
    """All scored codes, suggested or not, but those that were withheld."""
    on: date
    """The day of routing, by which rules are in force or not."""
    findings: Sequence[Finding] = ()
    """What coding rules say of the suggested codes."""
    num_withheld: int = 0
    """Codes that the model would suggest and the documentation does not support."""
    num_queries: int = 0
    """Questions that the documentation leaves to the physician."""
    grouping: Grouping | None = None
    """The working DRG of a stay."""
    billed_weight: float | None = None
    """Relative weight of the DRG that the encounter itself names; None when it names none, or no table is held."""
    changed: frozenset[str] = frozenset()
    """Label keys, among the suggested codes, that a release changed within the policy's number of days."""
    affirmed_words: frozenset[str] = frozenset()
    """Which of the policy's phrases the notes affirm, in lower case."""

    @cached_property
    def suggested(self) -> tuple[PredictedCode, ...]:
        """The codes that would be offered."""
        return tuple(code for code in self.codes if code.suggested)

    @cached_property
    def confidence(self) -> float:
        """Of the record as a whole."""
        return record_confidence(self.codes)

    @cached_property
    def severities(self) -> frozenset[Severity]:
        """Of the findings."""
        return frozenset(finding.severity for finding in self.findings)

    @cached_property
    def emergency_level(self) -> int | None:
        """The higher of what the encounter says and what the suggested visit codes say; None when neither does."""
        levels = [self.encounter.emergency_level] if self.encounter.emergency_level is not None else []
        for code in self.suggested:
            found = level_of(code.key)
            if found is not None and found[0] == _EMERGENCY_FAMILY:
                levels.append(found[1])
        return max(levels, default=None)

    @cached_property
    def num_procedures(self) -> int:
        """Suggested procedures: ICD-10-PCS, and CPT's section of surgery."""
        return sum(
            code.system is CodeSystem.ICD10PCS
            or (code.system is CodeSystem.CPT and _SURGERY[0] <= code.code[:5] <= _SURGERY[1] and code.code.isdigit())
            for code in self.suggested
        )

    @cached_property
    def drgs(self) -> frozenset[str]:
        """The DRG that the encounter names and the one that the suggested codes give, three digits each."""
        named = {self.encounter.drg.zfill(3)} if self.encounter.drg else set()
        return frozenset(named | ({self.grouping.drg} if self.grouping else set()))

    @cached_property
    def drg_weight(self) -> float | None:
        """The higher of the weights that are known; None when none is."""
        weights = (self.billed_weight, self.grouping.relative_weight if self.grouping else None)
        return max((weight for weight in weights if weight is not None), default=None)

    @cached_property
    def is_drg_weight_unknown(self) -> bool:
        """Whether no weight is known, or not that of the DRG that the encounter names."""
        return self.drg_weight is None or (self.encounter.drg is not None and self.billed_weight is None)
