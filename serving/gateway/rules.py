"""Everything that scored codes are judged by before they are answered: coding rules, queries, the route.

One object for whoever answers; it holds nothing of a version or a request.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from clinical_coding.code_systems import CodeSystems
from clinical_coding.edits import MedicalNecessity, Policy, load_necessity, load_policy
from clinical_coding.queries import QueryRules, load_query_rules
from clinical_coding.settings_file import load_settings
from serving.routing import Router, RoutingRules

__all__ = ["AnswerRules"]


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """Coding rules, queries and the routing policy."""

    router: Router
    systems: CodeSystems
    policy: Policy
    queries: QueryRules
    necessity: MedicalNecessity | None = None
    """Which diagnoses support which procedure; null where no table is given."""

    @classmethod
    def load(cls, *, routing: Path, policy: Path, queries: Path, necessity: Path | None, systems: CodeSystems) -> Self:
        """Read the files; what is wrong in one is told with its name and field.

        Args:
            routing: The routing policy.
            policy: Rules of the organisation and of payers.
            queries: Indicators of documentation gaps.
            necessity: Table of procedures and the diagnoses that support them.
            systems: The releases of code systems.

        Raises:
            ValueError: A file is missing, is not YAML, or has a wrong or unknown field.
        """
        return cls(
            router=Router(load_settings(routing, RoutingRules), systems=systems),
            systems=systems,
            policy=load_policy(policy, systems),
            queries=load_query_rules(queries),
            necessity=None if necessity is None else load_necessity(necessity),
        )
