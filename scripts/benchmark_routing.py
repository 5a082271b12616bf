"""How long it takes to replay 20,000 encounters against the routing policy, and what the policy does to them.

Takes the prediction file that the version wrote for the same records, since predicting is what ``benchmark_model``
measures. Review, routing facts and every rule are computed anew, on all cores:

    chartloop predict --version candidate --records 'sample:20000?seed=9' --out predictions.jsonl
    python -m scripts.benchmark_routing predictions.jsonl --records 'sample:20000?seed=9'
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clinical_coding.suggestions import RouteDecision
from scripts.answer_rules import DEFAULT_ROUTING
from scripts.benchmark_results import Row, write_results
from scripts.options import DEFAULT_DATA_DIR, DataDir
from scripts.routing_history import replayed_history
from serving.routing.pilots import find_pilots
from serving.routing.simulation import simulate

__all__ = ["main"]


def main(
    predictions: Annotated[Path, typer.Argument(help="What `chartloop predict` wrote for the records.")],
    records: Annotated[str, typer.Option(help="The records, in the order of the predictions.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Replay, and write docs/benchmarks/routing.json."""
    console, started = Console(stderr=True), time.perf_counter()
    history = replayed_history(
        records,
        version=None,
        predictions=predictions,
        routing=[DEFAULT_ROUTING],
        on=datetime.now(UTC).date(),
        data_dir=data_dir,
        console=console,
    )
    [policy] = simulate(history, names=["routing"]).policies
    seconds = time.perf_counter() - started
    shares = dict(policy.routes)
    rows = [
        Row("simulate_seconds", seconds, "s"),
        Row("encounters_a_second", len(history) / seconds, "encounters/s"),
        *(Row(f"{route}_share", shares[route].value, "share") for route in RouteDecision),
        Row("in_error_were_all_autonomous", policy.error_of_all.value, "share"),
        *(Row(f"fired: {rule.name}", rule.fired.value, "share") for rule in policy.rules),
    ]
    plan = find_pilots(history)
    rows += [Row("pilots_volume", plan.volume.value, "share"), Row("pilots_error", plan.error.value, "share")]
    for row in rows:
        console.print(f"{row.metric:<40} {row.value:.4g} {row.unit}", highlight=False)
    console.print(f"written to {write_results('routing', rows, num_encounters=len(history))}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
