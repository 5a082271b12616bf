"""Replays history against a policy: what share each rule moves, and what error it would let through.

An autonomous encounter is in error when any suggested code is wrong or any code is missing: that is the claim
that would have gone out. What a rule moves is told by leaving it out: the encounters whose route changes, and
how many of those that would become autonomous are in error.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clinical_coding.suggestions import RouteDecision
from serving.routing.history import PastEncounter, share_in_error
from serving.routing.shares import Share

__all__ = ["PolicyResult", "RuleResult", "Simulation", "SliceResult", "simulate"]


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule."""

    name: str
    fired: Share
    """Of all encounters."""
    moved: Share
    """Of all encounters: those that another route would get without it."""
    moves: tuple[tuple[RouteDecision, RouteDecision, int], ...]
    """From the route without it to the route with it, and how many; most first."""
    kept_from_autonomous: Share
    """In error, of those that it alone keeps from the autonomous route."""


@dataclass(frozen=True, slots=True)
class SliceResult:
    """The encounters of one setting or specialty."""

    dimension: str
    value: str
    autonomous: Share
    error: Share
    """In error, of the autonomous."""


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """What one policy would have done."""

    name: str
    routes: tuple[tuple[RouteDecision, Share], ...]
    error: Share
    """Encounters in error, of the autonomous."""
    wrong_codes: Share
    """Of the codes suggested on autonomous encounters."""
    missed_codes: Share
    """Of the codes that belong on autonomous encounters."""
    error_of_all: Share
    """Encounters in error, were all autonomous."""
    rules: tuple[RuleResult, ...]
    slices: tuple[SliceResult, ...]


@dataclass(frozen=True, slots=True)
class Simulation:
    """One history, one policy or several."""

    num_encounters: int
    policies: tuple[PolicyResult, ...]


def simulate(history: Sequence[PastEncounter], *, names: Sequence[str]) -> Simulation:
    """Sum up a replayed history.

    Args:
        history: Past encounters; the rules that fired are those of the policies, in their order.
        names: Of the policies.

    Raises:
        ValueError: There is no encounter.
    """
    if not history:
        raise ValueError("the history holds no encounter; name other records")
    return Simulation(len(history), tuple(_policy(history, policy, name) for policy, name in enumerate(names)))


def _policy(history: Sequence[PastEncounter], policy: int, name: str) -> PolicyResult:
    routes = Counter(one.route(policy) for one in history)
    autonomous = [one for one in history if one.route(policy) is RouteDecision.AUTONOMOUS]
    num_right = sum(one.num_suggested - one.num_wrong for one in autonomous)
    num_missed = sum(one.num_missed for one in autonomous)
    fired = Counter(rule for one in history for rule, _ in one.fired[policy])
    return PolicyResult(
        name=name,
        routes=tuple((route, Share(routes[route], len(history))) for route in RouteDecision),
        error=share_in_error(autonomous),
        wrong_codes=Share(sum(one.num_wrong for one in autonomous), sum(one.num_suggested for one in autonomous)),
        missed_codes=Share(num_missed, num_missed + num_right),
        error_of_all=share_in_error(history),
        rules=tuple(_rule(history, policy, rule, count) for rule, count in fired.most_common()),
        slices=tuple(_slices(history, policy)),
    )


def _rule(history: Sequence[PastEncounter], policy: int, name: str, num_fired: int) -> RuleResult:
    moves: Counter[tuple[RouteDecision, RouteDecision]] = Counter()
    kept: list[PastEncounter] = []
    for one in history:
        after = one.route(policy)
        if (before := one.route(policy, without=name)) is not after:
            moves[before, after] += 1
            if before is RouteDecision.AUTONOMOUS:
                kept.append(one)
    return RuleResult(
        name=name,
        fired=Share(num_fired, len(history)),
        moved=Share(moves.total(), len(history)),
        moves=tuple((*pair, count) for pair, count in moves.most_common()),
        kept_from_autonomous=share_in_error(kept),
    )


def _slices(history: Sequence[PastEncounter], policy: int) -> Iterable[SliceResult]:
    for dimension in ("setting", "specialty", "complexity"):
        members: dict[str, list[PastEncounter]] = {}
        for one in history:
            members.setdefault(getattr(one.segment, dimension), []).append(one)
        for value, ones in sorted(members.items(), key=lambda item: (-len(item[1]), item[0])):
            autonomous = [one for one in ones if one.route(policy) is RouteDecision.AUTONOMOUS]
            yield SliceResult(dimension, value, Share(len(autonomous), len(ones)), share_in_error(autonomous))
