"""Simulated coders: what somebody with stated rates and habits decides on a suggestion (stage 8).

Pure: suggestion, truth, coder and a seeded generator in, a Decision out. The truth is known here and
goes nowhere else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from clinical_coding.codes import split_key
from clinical_coding.decisions import CodeAction, CodeDecision, Decision
from clinical_coding.suggestions import RouteDecision, SuggestedCode, Suggestion
from feedback.simulation.settings import SimulatedCoder

__all__ = ["REASON", "category", "decide"]

REASON: Final = "facility-policy"
"""The reason code that simulated coders give, whatever they do: they do not say why."""

MODIFY_SHARE: Final = 0.5
"""Of wrong overrides, how many put an alternative in the place of the right code instead of rejecting it."""
SECONDS_A_DECISION: Final = (20.0, 240.0)
CATEGORY_CHARACTERS: Final = 3


def category(key: str) -> str:
    """The system and first three characters of a label key: codes that stand in for each other share them."""
    system, code = split_key(key)
    return f"{system}:{code[:CATEGORY_CHARACTERS]}"


def decide(suggestion: Suggestion, *, right: frozenset[str], coder: SimulatedCoder, rng: Random) -> Decision:
    """Decide as the coder would.

    Args:
        suggestion: On the manual route its codes count as unseen.
        right: Label keys of the codes that belong on the record.
        coder: Whose rates and habit.
        rng: Draws everything that is left to chance; the same state gives the same decision.

    Returns:
        A decision whose codes name what differs from the suggestion; codes not named are accepted.
    """
    shown = suggestion.codes if suggestion.route.decision is not RouteDecision.MANUAL else ()
    review = _Review(coder, rng, right=right, suggested=frozenset(_key(code) for code in shown))
    for code in shown:
        review.look_at(code)
    review.add_missing()
    return Decision(
        suggestion_id=suggestion.suggestion_id,
        codes=tuple(review.decided),
        seconds_spent=round(rng.uniform(*SECONDS_A_DECISION), 1),
    )


@dataclass
class _Review:
    """One coder going through one suggestion."""

    coder: SimulatedCoder
    rng: Random
    right: frozenset[str]
    suggested: frozenset[str]
    decided: list[CodeDecision] = field(default_factory=list)
    placed: set[str] = field(default_factory=set)
    """Codes put in by this decision."""

    def look_at(self, suggested: SuggestedCode) -> None:
        key, habit = _key(suggested), self.coder.habit
        if habit is not None and key == habit.key:
            self._replace(key, habit.to_key)
        elif key in self.right:
            if self._happens(self.coder.false_override_rate):
                self._override_wrongly(suggested)
        elif key not in self._believed() and not self._happens(self.coder.miss_rate):
            self._replace(key, self._missing_sibling(key))

    def add_missing(self) -> None:
        for key in sorted(self._believed() - self.suggested - self.placed):
            if key == self._habitual() or not self._happens(self.coder.miss_rate):
                self._place(CodeAction.ADD, key)

    def _habitual(self) -> str | None:
        """What the habit puts on this record."""
        habit = self.coder.habit
        applies = habit is not None and habit.key in self.right | self.suggested
        return habit.to_key if habit is not None and applies else None

    def _believed(self) -> frozenset[str]:
        """What the coder takes for right: the truth, with the habit in it."""
        habit, habitual = self.coder.habit, self._habitual()
        dropped = frozenset({habit.key}) if habit is not None else frozenset[str]()
        return (self.right - dropped) | (frozenset({habitual}) if habitual is not None else frozenset())

    def _override_wrongly(self, suggested: SuggestedCode) -> None:
        same = (other for other in suggested.alternatives if other.system is suggested.system)
        wrong = (f"{other.system}:{other.code}" for other in same)
        candidates = self._free(key for key in wrong if key not in self.right)
        modifies = self._happens(MODIFY_SHARE)
        self._replace(_key(suggested), candidates[0] if candidates and modifies else None)

    def _missing_sibling(self, key: str) -> str | None:
        believed = sorted(self._believed() - self.suggested)
        siblings = self._free(other for other in believed if category(other) == category(key))
        return siblings[0] if siblings else None

    def _free(self, keys: Iterable[str]) -> list[str]:
        return [key for key in keys if key not in self.suggested and key not in self.placed]

    def _replace(self, key: str, to: str | None) -> None:
        if to is not None and self._free([to]):
            self._place(CodeAction.MODIFY, key, to=to)
        else:
            self._place(CodeAction.REJECT, key)

    def _place(self, action: CodeAction, key: str, *, to: str | None = None) -> None:
        system, code = split_key(key)
        number = None if to is None else split_key(to)[1]
        self.decided.append(CodeDecision(action=action, system=system, code=code, to=number, reason=REASON))
        if action is not CodeAction.REJECT:
            self.placed.add(to or key)

    def _happens(self, probability: float) -> bool:
        return self.rng.random() < probability


def _key(code: SuggestedCode) -> str:
    return f"{code.system}:{code.code}"
