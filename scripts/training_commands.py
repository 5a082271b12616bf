"""Commands of stages 2 to 5: train, predict, evaluate."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scripts.held_releases import held_releases
from scripts.options import DEFAULT_DATA_DIR, AsJson, DataDir, Records, print_json

__all__ = ["add_to"]

Split = Annotated[str | None, typer.Option("--split", help="Read only this split: train, dev or test.")]
Version = Annotated[
    str, typer.Option("--version", help="champion, candidate, challenger, a number, or a bundle's folder.")
]
Rejects = Annotated[Path | None, typer.Option("--rejects", help="Keep input lines that cannot be read in this file.")]


def add_to(app: typer.Typer) -> None:
    """Put the commands on the root."""
    app.command()(train)
    app.command()(predict)
    app.command()(evaluate)


def train(
    config: Annotated[Path, typer.Option("--config", help="A training configuration; see configs/.")],
    records: Annotated[
        str | None,
        typer.Option("--records", help="Read these records instead of the file's; with --manifest, only to measure."),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Train on this folder, which `chartloop feedback export` wrote.")
    ] = None,
    splits: Annotated[
        str | None, typer.Option("--splits", help="Train on these splits, for instance train,dev.")
    ] = None,
    rejects: Rejects = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Train a version on coded records and register it as the candidate.

    Example: [bold]chartloop train --config configs/train-sample.yaml[/bold]

    A tenth of the training patients is held out for early stopping, calibration and the threshold. A killed
    training goes on from its last checkpoint when the same command is given again. The last line printed is
    JSON with run id, version and metrics.

    On several GPUs: [bold]accelerate launch --num_processes 4 --module scripts.chartloop train --config ...[/bold];
    each process reads its share of every batch, so set optimisation.batch_records for all of them together.

    With --manifest the training set is what was exported, base records included, and the records of the
    configuration, or of --records, only measure the version on their dev split, as they did the version before.
    """
    if manifest is not None and splits is not None:
        raise ValueError("--splits cannot be given with --manifest, whose records are all of split train; leave it out")
    from training.config import load_config

    changed = {"records": records, "splits": tuple(splits.split(",")) if splits else None}
    settings = load_config(config, **{name: value for name, value in changed.items() if value is not None})

    from scripts.tables import evaluation_tables
    from training.processes import is_beside_the_first
    from training.train import fit_beside
    from training.train import train as run

    if is_beside_the_first():
        fit_beside(settings)
        return
    console = Console(stderr=True)
    result = run(settings, data_dir=data_dir, console=console, rejects=rejects, training_set=manifest)
    for table in evaluation_tables(result.evaluation, dimensions=("specialty",)):
        console.print(table)
    print_json(
        {
            "run_id": result.run_id,
            "version": result.version.number,
            "bundle_sha256": result.version.bundle_sha256,
            "evaluated_on": result.evaluated_on,
            "metrics": result.evaluation.overall.as_dict(),
        }
    )


def predict(
    version: Version,
    records: Records,
    out: Annotated[Path, typer.Option("--out", help="The prediction file to write, JSONL.")],
    split: Split = None,
    rejects: Rejects = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Write the prediction file: up to 100 ranked codes a record, evidence on the suggested ones.

    Example: [bold]chartloop predict --version candidate --records sample:20?seed=4242 --out predictions.jsonl[/bold]
    """
    from governance.versions import resolve_version
    from scripts.evaluation import predicted
    from training.predict import write_predictions

    console = Console(stderr=True)
    resolved = resolve_version(version, data_dir=data_dir)
    systems = held_releases(data_dir)
    with predicted(resolved, records, split=split, rejects=rejects, systems=systems, console=console) as predictions:
        num_lines = write_predictions(predictions, out)
    console.print(f"{num_lines} predictions in {out}")


def evaluate(
    version: Version,
    records: Records,
    split: Split = None,
    rejects: Rejects = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="Draw the plots into this folder.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Measure a version on coded records, whole and by specialty, setting, complexity and payer.

    Example: [bold]chartloop evaluate --version candidate --records sample:200?seed=1 --split dev[/bold]
    """
    from clinical_coding.metrics import evaluate as measure
    from governance.versions import resolve_version
    from scripts.evaluation import predicted, records_of
    from scripts.tables import evaluation_tables

    console = Console(stderr=True)
    resolved = resolve_version(version, data_dir=data_dir)
    systems = held_releases(data_dir)
    with predicted(resolved, records, split=split, rejects=rejects, systems=systems, console=console) as stream:
        predictions = list(stream)
    evaluation = measure(records_of(records, split=split, systems=systems), predictions)
    if plots is not None:
        from training.plots import evaluation_figures

        plots.mkdir(parents=True, exist_ok=True)
        figures = evaluation_figures(list(records_of(records, split=split, systems=systems)), predictions, evaluation)
        for name, figure in figures.items():
            figure.savefig(plots / f"{name}.png", dpi=160)
    if as_json:
        print_json(evaluation.as_dict())
        return
    for table in evaluation_tables(evaluation, dimensions=("specialty", "setting", "complexity", "payer")):
        Console().print(table)
