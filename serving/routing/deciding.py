"""Applies a routing policy: every rule is asked, each that fires is named, the most cautious route is taken."""

from collections.abc import Iterator
from typing import Final

from clinical_coding.suggestions import Route, RouteDecision
from serving.routing.facts import RoutingFacts
from serving.routing.rules import RoutingRules

__all__ = ["CAUTION", "decide_route", "fired_rules"]

CAUTION: Final = (RouteDecision.AUTONOMOUS, RouteDecision.ASSISTED, RouteDecision.MANUAL)
"""From the least cautious route to the most."""


def fired_rules(facts: RoutingFacts, rules: RoutingRules) -> Iterator[tuple[str, RouteDecision]]:
    """Ask every rule.

    Args:
        facts: What is known of the encounter.
        rules: The policy.

    Yields:
        Name and route of each that fires; first, of exactly one that speaks of confidence.
    """
    thresholds = rules.thresholds_of(facts.encounter)
    if not facts.suggested:
        yield "no-code-suggested", RouteDecision.MANUAL
    elif facts.confidence < thresholds.assisted_from:
        yield "confidence-too-low", RouteDecision.MANUAL
    elif facts.confidence < thresholds.autonomous_from:
        yield "confidence-below-threshold", RouteDecision.ASSISTED
    else:
        yield "confidence-reaches-threshold", RouteDecision.AUTONOMOUS
    for rule in rules.in_force(facts.on):
        if rule.when.holds(facts):
            yield rule.name, rule.route
    for line in rules.watch_list:
        if line.is_in_force(facts.on) and line.fits(facts.encounter):
            yield line.name, line.route


def decide_route(facts: RoutingFacts, rules: RoutingRules) -> Route:
    """Apply every rule and take the most cautious route.

    Args:
        facts: What is known of the encounter.
        rules: The policy.

    Returns:
        The route with the names of the rules that fired.
    """
    fired = tuple(dict.fromkeys(fired_rules(facts, rules)))
    decision = max((route for _, route in fired), key=CAUTION.index)
    names = tuple(dict.fromkeys(name for name, _ in fired))
    return Route(decision=decision, rules=names, record_confidence=facts.confidence)
