"""Stages 2 to 5 in reading order: records in, registered version out.

A tenth of the training patients is held out for early stopping, calibration and the threshold. The dev
split, unless it is trained on, is looked at once, at the end, by the bundle as it will be served.

Codes that are not valid for their record's date are settled as the records are read (``code_validity``).

Where several processes were launched, the first does all of this, and the others ``fit_beside`` it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from clinical_coding.code_systems import CodeSystems
from clinical_coding.data_directory import DataDirectory
from clinical_coding.manifest import Manifest
from clinical_coding.metrics import Evaluation
from clinical_coding.predictions import Prediction
from clinical_coding.readers import read_records
from clinical_coding.readers.spec import without_folders
from clinical_coding.records import CodedRecord, Split
from clinical_coding.registered_version import EvaluatedOn
from clinical_coding.suggestions import VersionName
from training.code_validity import CodeValidity, ValidCodes
from training.config import TrainConfig
from training.corpus import prepare
from training.dataset import store_records
from training.plots import evaluation_figures, training_curve
from training.processes import make_accelerator, share
from training.progress import progress_bar
from training.reference import reference_histograms
from training.register import register_version
from training.session import TrainingSession, incoming_file, open_session
from training.steps import HELD_OUT_SCORE, Steps, code_commit
from training.tracking import TrackedRun, start_run
from training.training_set import store_training_set

__all__ = ["TrainResult", "fit_beside", "train"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training gave."""

    run_id: str
    version: VersionName
    evaluated_on: EvaluatedOn
    evaluation: Evaluation
    code_validity: CodeValidity
    """What became of codes that are not valid for their record's date."""


def train(
    config: TrainConfig,
    *,
    data_dir: Path,
    console: Console,
    rejects: Path | None = None,
    training_set: Path | None = None,
) -> TrainResult:
    """Train, evaluate and register a version; a killed training of the same configuration and records goes on.

    Args:
        config: The run's.
        data_dir: The data directory.
        console: Where progress is shown.
        rejects: Where to keep input lines that cannot be read.
        training_set: A folder that feedback exported, to train on instead of the configuration's records, whose
            dev split then only measures the version.

    Raises:
        ValueError: Configuration, records or base model are not usable; the message says what to do.
    """
    if training_set is not None:
        config = config.model_copy(update={"splits": (Split.TRAIN,)})
    directory = DataDirectory.locate(data_dir)
    systems = CodeSystems.open(directory.code_systems)
    valid_codes = ValidCodes(systems)
    with incoming_file(directory.checkpoints) as incoming:
        with progress_bar("read records", total=None, console=console) as advance:
            manifest = _store(config, training_set, valid_codes, path=incoming, rejects=rejects, advance=advance)
        validity = valid_codes.counts()
        console.print(validity.describe(), highlight=False)
        with open_session(config, manifest, checkpoints=directory.checkpoints) as session:
            incoming.replace(session.folder / "records.arrow")
            result = _train_in_session(
                config, manifest, validity, session=session, systems=systems, data_dir=data_dir, console=console
            )
            session.finish()
    return result


def _store(
    config: TrainConfig,
    training_set: Path | None,
    valid_codes: ValidCodes,
    *,
    path: Path,
    rejects: Path | None,
    advance: Callable[[int], None],
) -> Manifest:
    def counted(records: Iterator[CodedRecord]) -> Iterator[CodedRecord]:
        for record in records:
            yield record
            advance(1)

    if training_set is not None:
        return store_training_set(
            training_set,
            base=config.records,
            path=path,
            valid_codes=valid_codes,
            rejects=rejects,
            counted=counted,
        )
    systems = valid_codes.systems
    chosen = counted(read_records(config.records, splits=config.splits, rejects=rejects, systems=systems))
    return store_records(valid_codes.settle(chosen), sources=[without_folders(config.records)], path=path)


def _train_in_session(
    config: TrainConfig,
    manifest: Manifest,
    validity: CodeValidity,
    *,
    session: TrainingSession,
    systems: CodeSystems,
    data_dir: Path,
    console: Console,
) -> TrainResult:
    # Here and not before: what is wrong with configuration or records is told at once.
    accelerator = make_accelerator(config.optimisation.precision)
    assert accelerator.is_main_process
    with start_run(
        config.model_dump(mode="json"),
        data_dir=data_dir,
        manifest=manifest,
        dataset=" + ".join(manifest.sources),
        code_commit=code_commit(),
        run_id=session.run_id,
    ) as run:
        session.remember(run.run_id)
        run.log_code_validity(validity)
        corpus = prepare(
            config,
            records=session.folder / "records.arrow",
            folder=session.folder,
            systems=systems,
            accelerator=accelerator,
            console=console,
        )
        # The others prepare the same from what now lies there.
        share((session.folder, data_dir), accelerator)
        steps = Steps(config, corpus, accelerator, run, session.folder, console)
        fitted = steps.fit("fit", np.flatnonzero(~corpus.held_out), hold_out=True)
        calibration, threshold, held_out_confidences = steps.calibrate(fitted)
        reference = reference_histograms(
            corpus.windows, labels=corpus.label_space.labels, confidences=held_out_confidences
        )
        written = {"calibration": calibration, "threshold": threshold, "manifest": manifest, "reference": reference}
        splits = () if Split.DEV in config.splits else (Split.DEV,)
        dev = list(read_records(config.records, splits=splits, systems=systems)) if splits else []
        evaluated_on = EvaluatedOn.DEV if dev else EvaluatedOn.HELD_OUT
        bundle = steps.write(fitted, **written)
        if not dev:
            # Measured before the refit, which would have seen these patients.
            evaluation, predictions = steps.evaluate(bundle, list(corpus.held_out_records()))
        if config.refit:
            best_epoch = fitted.result.best_epoch
            # Two models would be in memory.
            del fitted
            fitted = steps.fit("refit", np.arange(len(corpus.windows)), epochs=best_epoch)
            bundle = steps.write(fitted, **written)
        if dev:
            evaluation, predictions = steps.evaluate(bundle, dev)
        _log_measures(run, config, dev or list(corpus.held_out_records()), predictions, evaluation)
        version = register_version(
            run.run_id, bundle_folder=bundle, data_dir=data_dir, metrics=evaluation.overall, evaluated_on=evaluated_on
        )
    return TrainResult(run.run_id, version, evaluated_on, evaluation, validity)


def _log_measures(
    run: TrackedRun,
    config: TrainConfig,
    records: list[CodedRecord],
    predictions: list[Prediction],
    evaluation: Evaluation,
) -> None:
    run.log_evaluation(evaluation)
    run.log_evaluation_set(records, predictions)
    stages = ("fit", "refit") if config.refit else ("fit",)
    losses = {stage: run.curve(f"{stage}.loss") for stage in stages}
    scores = {"fit": run.curve(f"fit.{HELD_OUT_SCORE}")}
    figures = evaluation_figures(records, predictions, evaluation) | {"training": training_curve(losses, scores)}
    run.log_figures(figures)


def fit_beside(config: TrainConfig) -> None:
    """What the processes do that were launched beside the first: the fits of ``train``, in the same order.

    Args:
        config: The run's, as the first process has it.
    """
    accelerator, quiet = make_accelerator(config.optimisation.precision), Console(quiet=True)
    folder, data_dir = share(None, accelerator)
    systems = CodeSystems.open(DataDirectory.locate(data_dir).code_systems)
    records = folder / "records.arrow"
    corpus = prepare(config, records=records, folder=folder, systems=systems, accelerator=accelerator, console=quiet)
    steps = Steps(config, corpus, accelerator, None, folder, quiet)
    best_epoch = steps.fit("fit", np.flatnonzero(~corpus.held_out), hold_out=True).result.best_epoch
    if config.refit:
        steps.fit("refit", np.arange(len(corpus.windows)), epochs=best_epoch)
