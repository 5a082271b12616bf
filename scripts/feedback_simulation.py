"""``chartloop feedback simulate``: simulated coders and supervisors work on a version's suggestions (stages 7 to 9)."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from scripts.acting import Key, acting
from scripts.answer_rules import DEFAULT_POLICY, DEFAULT_ROUTING, PolicyFile, RoutingFile, load_rules
from scripts.options import CONFIGS, DEFAULT_DATA_DIR, AsJson, DatabaseUrl, DataDir, Records, print_json

if TYPE_CHECKING:
    from clinical_coding.records import CodedRecord
    from clinical_coding.suggestions import VersionName
    from feedback.simulation.running import Simulated, SimulationReport
    from serving.gateway.rules import AnswerRules
    from training.model import Scorer

__all__ = ["add_to", "suggested"]

_RECORDS_A_PASS: Final = 16


def add_to(app: typer.Typer) -> None:
    """Put the command on the group."""
    app.command()(simulate)


def suggested(
    records: "Iterable[CodedRecord]", *, scorer: "Scorer", version: "VersionName", rules: "AnswerRules"
) -> "Iterator[Simulated]":
    """Suggest codes for records as the gateway would, and keep the truth beside the suggestion.

    Args:
        records: With the codes that belong on them, of which a request carries none.
        scorer: The version's.
        version: Its name.
        rules: What codes are judged by.
    """
    from clinical_coding.artefact import new_id
    from clinical_coding.suggestions import SuggestionRequest
    from feedback.simulation.running import Simulated
    from serving.gateway.building import SuggestionBuilder
    from serving.gateway.dispatch import Scored
    from serving.gateway.reviewing import read_notes

    builder = SuggestionBuilder(scorer.labels, version=version, rules=rules)
    stream = iter(records)
    while chunk := list(islice(stream, _RECORDS_A_PASS)):
        for record, codes in zip(chunk, scorer.score([record.notes for record in chunk]), strict=True):
            request = SuggestionRequest(
                record_id=record.record_id,
                patient_id=record.patient_id,
                encounter=record.encounter,
                notes=record.notes,
            )
            scored, read = Scored(codes, degraded=False, timings=None, waited_seconds=0.0), read_notes(request.notes)
            suggestion = builder.build(request, scored=scored, read=read, trace_id=new_id())
            yield Simulated(request, suggestion, record.keys())


def simulate(
    records: Records,
    version: Annotated[
        str | None, typer.Option("--version", help="Who suggests; default: the champion, else the candidate.")
    ] = None,
    config: Annotated[Path, typer.Option("--config", help="Coders, supervisors, and their rates.")] = CONFIGS
    / "simulation.yaml",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, other errors.")] = 0,
    split: Annotated[
        str, typer.Option("--split", help="Of the records; of other patients than those of train nothing is learnt.")
    ] = "train",
    routing: RoutingFile = DEFAULT_ROUTING,
    policy: PolicyFile = DEFAULT_POLICY,
    key: Key = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Let simulated coders decide on a version's suggestions, and simulated supervisors judge what they changed.

    Example: [bold]chartloop feedback simulate --records 'sample:300?seed=7'[/bold]

    Everything is stored as if people had done it, under principals called sim-…; the codes of the records
    stay out of the ledger. What simulated supervisors say is exported like any verdict: simulate in a data
    directory of its own. The same seed, version and records give the same answers.
    """
    from feedback.settings import load_feedback, load_reasons
    from feedback.simulation.running import simulate as run
    from feedback.simulation.settings import load_simulation
    from governance.versions import resolve_default, resolve_version
    from ledger.engine import ledger
    from scripts.evaluation import records_of
    from training.model import Scorer
    from training.progress import progress_bar

    settings, rules = load_simulation(config), load_rules(data_dir, routing=routing, policy=policy)
    chosen = records_of(records, split=split, systems=rules.systems)
    resolved = resolve_version(version, data_dir=data_dir) if version else resolve_default(data_dir=data_dir)
    encounters = suggested(chosen, scorer=Scorer(resolved.folder), version=resolved.version, rules=rules)
    with (
        ledger(data_dir, url=database_url) as engine,
        progress_bar("simulate", total=None, console=Console(stderr=True)) as advance,
    ):
        report = run(
            engine,
            encounters,
            settings=settings,
            feedback=load_feedback(CONFIGS / "feedback.yaml"),
            reasons=load_reasons(CONFIGS / "reasons.yaml"),
            systems=rules.systems,
            seed=seed,
            acting=acting(engine, key=key, data_dir=data_dir),
            progress=advance,
        )
    if report.num_suggestions == 0:
        raise ValueError(f"records {records!r} have none of split {split!r}; choose others")
    _show(report, as_json=as_json)


def _show(report: "SimulationReport", *, as_json: bool) -> None:
    if as_json:
        print_json(report.as_dict())
        return
    judged, found_wrong = report.judged.total(), report.found_wrong.total()
    rows: list[tuple[str, str]] = [
        ("suggestions", f"{report.num_suggestions:,} in {report.num_weeks} weeks"),
        *_counted("route", report.routes),
        ("decisions", f"{report.num_decisions:,}"),
        *_counted("override", report.overrides),
        *_counted("verdict", report.verdicts),
        *_counted("audit verdict", report.audit_verdicts),
        ("cases waiting", f"{report.num_waiting:,}"),
        ("coder found wrong", f"{found_wrong:,} of {judged:,} overrides judged"),
    ]
    table = Table(title="what happened", title_justify="left", box=None, show_header=False)
    for row in rows:
        table.add_row(*row)
    for coder in sorted(report.judged, key=lambda name: -report.found_wrong[name] / max(report.judged[name], 1)):
        table.add_row(f"  {coder}", f"{report.found_wrong[coder]:,} of {report.judged[coder]:,}")
    Console().print(table)


def _counted(what: str, counts: "dict[str, int]") -> list[tuple[str, str]]:
    return [(f"  {what} {name}", f"{count:,}") for name, count in sorted(counts.items(), key=lambda item: -item[1])]
