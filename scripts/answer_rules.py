"""What codes are judged by, loaded for the commands that suggest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scripts.held_releases import held_releases
from scripts.options import CONFIGS

if TYPE_CHECKING:
    from serving.gateway.rules import AnswerRules

__all__ = [
    "DEFAULT_POLICY",
    "DEFAULT_QUERIES",
    "DEFAULT_ROUTING",
    "NecessityFile",
    "PolicyFile",
    "QueriesFile",
    "RoutingFile",
    "load_rules",
]

DEFAULT_ROUTING = CONFIGS / "routing.yaml"
DEFAULT_POLICY = CONFIGS / "policy.yaml"
DEFAULT_QUERIES = CONFIGS / "queries.yaml"

RoutingFile = Annotated[Path, typer.Option("--routing", help="When a suggestion is autonomous, assisted, manual.")]
PolicyFile = Annotated[Path, typer.Option("--policy", help="Coding rules of the organisation and of payers.")]
QueriesFile = Annotated[Path, typer.Option("--queries", help="Indicators of documentation gaps, and what is asked.")]
NecessityFile = Annotated[
    Path | None, typer.Option("--necessity", help="Table of procedures and the diagnoses that support them.")
]


def load_rules(
    data_dir: Path,
    *,
    routing: Path = DEFAULT_ROUTING,
    policy: Path = DEFAULT_POLICY,
    queries: Path = DEFAULT_QUERIES,
    necessity: Path | None = None,
) -> "AnswerRules":
    """Read the files, and the releases of code systems that the data directory holds.

    Raises:
        ValueError: A file is missing, is not YAML, or has a wrong or unknown field.
    """
    from serving.gateway.rules import AnswerRules

    return AnswerRules.load(
        routing=routing, policy=policy, queries=queries, necessity=necessity, systems=held_releases(data_dir)
    )
