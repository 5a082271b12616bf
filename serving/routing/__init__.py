"""Who codes the encounter: the model alone, a coder with it, or a coder without it (stage 7).

Read in this order: ``facts`` is all that a rule may look at, ``conditions`` are what a rule can ask of it, ``rules``
is the policy in ``configs/routing.yaml``, ``deciding`` applies it, ``router`` gathers the facts of an encounter.
``simulation`` replays history against a policy, ``pilots`` looks for where autonomy would pay first.
"""

from serving.routing.deciding import decide_route, fired_rules
from serving.routing.facts import RoutingFacts, record_confidence
from serving.routing.router import Router
from serving.routing.rules import RoutingRules

__all__ = ["Router", "RoutingFacts", "RoutingRules", "decide_route", "fired_rules", "record_confidence"]
