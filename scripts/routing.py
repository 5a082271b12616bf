"""``chartloop routing``: look at the policy, replay history against it, find where autonomy would pay first."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from scripts.answer_rules import DEFAULT_ROUTING, RoutingFile
from scripts.options import DEFAULT_DATA_DIR, AsJson, DatabaseUrl, DataDir, print_json

if TYPE_CHECKING:
    from serving.routing.shares import Share

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Who codes which encounter: the policy, and what it would have done.")

OnDay = Annotated[
    datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="The day of routing; default: today.")
]
PredictionFile = Annotated[
    Path | None, typer.Option("--predictions", help="What `chartloop predict` wrote for these records.")
]
VersionName = Annotated[str | None, typer.Option("--version", help="Who predicts the records, where no file is given.")]


@app.command()
def check(routing: RoutingFile = DEFAULT_ROUTING, on: OnDay = None) -> None:
    """Read a policy, and show its lines and which are in force.

    Example: [bold]chartloop routing check --routing configs/routing.yaml --on 2026-10-01[/bold]
    """
    from clinical_coding.settings_file import load_settings
    from scripts.routing_tables import policy_tables
    from serving.routing import RoutingRules

    for table in policy_tables(load_settings(routing, RoutingRules), on=_day(on)):
        Console().print(table)


@app.command()
def simulate(
    records: Annotated[str, typer.Option("--records", help="Encounters whose codes are known to be right.")],
    version: VersionName = None,
    predictions: PredictionFile = None,
    routing: RoutingFile = DEFAULT_ROUTING,
    against: Annotated[Path | None, typer.Option("--against", help="Another policy, shown beside.")] = None,
    on: OnDay = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Replay history: what share each rule moves, and what error would go out uncorrected.

    Example: [bold]chartloop predict --version 1 --records sample:2000?seed=1 --out p.jsonl[/bold], then
    [bold]chartloop routing simulate --records sample:2000?seed=1 --predictions p.jsonl[/bold]
    """
    from scripts.routing_history import replayed_history
    from scripts.routing_tables import simulation_tables
    from serving.routing.simulation import simulate as sum_up

    policies = [routing, *([against] if against else [])]
    history = replayed_history(
        records,
        version=version,
        predictions=predictions,
        routing=policies,
        on=_day(on),
        data_dir=data_dir,
        console=Console(stderr=True),
    )
    simulation = sum_up(history, names=[path.stem for path in policies])
    if as_json:
        print_json(_plain(simulation))
        return
    for table in simulation_tables(simulation):
        Console().print(table)


@app.command()
def pilots(
    records: Annotated[
        str | None,
        typer.Option("--records", help="Encounters whose codes are right; default: what coders decided here."),
    ] = None,
    version: VersionName = None,
    predictions: PredictionFile = None,
    share: Annotated[float, typer.Option("--share", help="Of the volume, 0 to 1.")] = 0.2,
    min_encounters: Annotated[
        int, typer.Option("--min-encounters", help="Fewest of a segment, in half of the history.")
    ] = 30,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Name the routine fifth of the volume where autonomy would pay first, with its error.

    Example: [bold]chartloop routing pilots[/bold] over the ledger's decisions, or
    [bold]chartloop routing pilots --records sample:2000?seed=1 --predictions p.jsonl[/bold]
    """
    from scripts.routing_history import decided_history, replayed_history
    from scripts.routing_tables import pilot_tables
    from serving.routing.pilots import find_pilots

    if records is None:
        history = decided_history(data_dir, database_url=database_url)
    else:
        history = replayed_history(
            records,
            version=version,
            predictions=predictions,
            routing=[DEFAULT_ROUTING],
            on=_day(None),
            data_dir=data_dir,
            console=Console(stderr=True),
        )
    plan = find_pilots(history, share=share, min_encounters=min_encounters)
    if as_json:
        print_json(_plain(plan))
        return
    for table in pilot_tables(plan):
        Console().print(table)


def _day(on: datetime | None) -> Any:
    return (on or datetime.now(UTC)).date()


def _plain(value: Any) -> Any:
    """As JSON takes it, each share with its interval."""
    from serving.routing.shares import Share

    if isinstance(value, Share):
        return _share(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def _share(share: "Share") -> dict[str, float]:
    return asdict(share) | {"value": share.value, "low": share.low, "high": share.high}
