"""One encounter of the past, as simulation and the search for pilots see it: how it would be routed, and how it ended.

It holds no id, no note and no code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clinical_coding.records import Complexity, Encounter, Setting
from clinical_coding.suggestions import RouteDecision
from serving.routing.deciding import CAUTION
from serving.routing.shares import Share

__all__ = ["PastEncounter", "Segment", "share_in_error"]

Fired = tuple[tuple[str, RouteDecision], ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """Encounters that are alike to whoever plans work."""

    setting: str
    specialty: str
    complexity: str

    @classmethod
    def of(cls, encounter: Encounter) -> "Segment":
        """The segment of an encounter."""
        complexity = encounter.complexity.value if encounter.complexity else "unknown"
        return cls(encounter.setting.value, encounter.specialty, complexity)

    @property
    def is_routine(self) -> bool:
        """Whether autonomy may begin here: no stay, and nothing that is known to be involved."""
        return self.setting != Setting.INPATIENT and self.complexity != Complexity.HIGH


@dataclass(frozen=True, slots=True)
class PastEncounter:
    """What a policy says of it, and whether the model's codes were right."""

    segment: Segment
    fired: tuple[Fired, ...]
    """Of each policy that was replayed, the rules that fired."""
    num_suggested: int
    num_wrong: int
    """Suggested codes that did not belong there."""
    num_missed: int
    """Codes that belonged there and were not suggested."""
    seconds_spent: float | None = None
    """By a coder; None where nobody said."""

    @property
    def is_wrong(self) -> bool:
        """Whether the model's codes, taken as they are, would have been a wrong claim."""
        return self.num_wrong + self.num_missed > 0

    def route(self, policy: int = 0, *, without: str | None = None) -> RouteDecision:
        """The most cautious route of the rules that fired, or of all but one.

        Args:
            policy: Which of the replayed policies.
            without: A rule to leave out.
        """
        routes = (route for name, route in self.fired[policy] if name != without)
        return max(routes, key=CAUTION.index, default=RouteDecision.AUTONOMOUS)


def share_in_error(ones: Sequence[PastEncounter]) -> Share:
    """How many of these would have been a wrong claim."""
    return Share(sum(one.is_wrong for one in ones), len(ones))
