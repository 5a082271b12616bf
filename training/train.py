"""Stages 2 to 5 in reading order: records in, registered version out.

A tenth of the training patients is held out for early stopping, calibration and the threshold. The dev
split, unless it is trained on, is looked at once, at the end, by the bundle as it will be served.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from peft import PeftModel
from rich.console import Console

from clinical_coding.bundle import Calibration
from clinical_coding.data_directory import DataDirectory
from clinical_coding.manifest import Manifest
from clinical_coding.metrics import Evaluation, evaluate
from clinical_coding.predictions import Prediction
from clinical_coding.readers import read_records
from clinical_coding.records import CodedRecord, Split
from clinical_coding.suggestions import VersionName
from training.build import build_model
from training.bundle_writer import write_bundle
from training.calibrate import calibrate, confidences
from training.config import TrainConfig
from training.corpus import Corpus, prepare
from training.dataset import Collator, store_records
from training.fit import FitResult, fit, num_lower_layers
from training.held_out import gold_and_known, lexical_shares, mean_average_precision, score_windows
from training.label_space import LabelSampler
from training.model.coding_model import CodingModel
from training.model.scorer import Scorer
from training.plots import evaluation_figures, training_curve
from training.predict import predict
from training.progress import progress_bar
from training.reference import reference_histograms
from training.register import register_version
from training.session import TrainingSession, open_session, remove_abandoned
from training.tracking import TrackedRun, start_run

__all__ = ["TrainResult", "train"]

_HELD_OUT_SCORE = "held_out_mean_average_precision"


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training gave."""

    run_id: str
    version: VersionName
    evaluated_on: str
    """``dev``, or ``held-out`` when the dev split was trained on or is absent."""
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A trained model and how it got there."""

    model: CodingModel
    wrapped: PeftModel
    result: FitResult


def train(config: TrainConfig, *, data_dir: Path, console: Console, rejects: Path | None = None) -> TrainResult:
    """Train, evaluate and register a version; a killed training of the same configuration and records goes on.

    Args:
        config: The run's.
        data_dir: The data directory.
        console: Where progress is shown.
        rejects: Where to keep input lines that cannot be read.

    Raises:
        ValueError: Configuration, records or base model are not usable; the message says what to do.
    """
    directory = DataDirectory.locate(data_dir)
    remove_abandoned(directory.checkpoints)
    incoming = directory.checkpoints / f"incoming-{os.getpid()}.arrow"
    try:
        with progress_bar("read records", total=None, console=console) as advance:
            chosen = _counted(_records_of(config.records, splits=config.splits, rejects=rejects), advance)
            manifest = store_records(chosen, sources=[_without_folders(config.records)], path=incoming)
        with open_session(config, manifest, checkpoints=directory.checkpoints) as session:
            incoming.replace(session.folder / "records.arrow")
            result = _train_in_session(config, manifest, session=session, data_dir=data_dir, console=console)
            session.finish()
    finally:
        incoming.unlink(missing_ok=True)
    return result


def _train_in_session(
    config: TrainConfig, manifest: Manifest, *, session: TrainingSession, data_dir: Path, console: Console
) -> TrainResult:
    accelerator = Accelerator(mixed_precision="bf16" if config.optimisation.precision == "bf16" else "no")
    if accelerator.num_processes > 1:
        raise ValueError(f"training runs in one process, but {accelerator.num_processes} were launched; launch one")
    with start_run(
        config.model_dump(mode="json"),
        data_dir=data_dir,
        manifest=manifest,
        dataset=manifest.sources[0],
        code_commit=_code_commit(),
        run_id=session.run_id,
    ) as run:
        session.remember(run.run_id)
        corpus = prepare(
            config,
            records=session.folder / "records.arrow",
            folder=session.folder,
            accelerator=accelerator,
            console=console,
        )
        tools = _Tools(config, corpus, accelerator, run, session.folder, console)
        fitted = tools.fit("fit", np.flatnonzero(~corpus.held_out), hold_out=True)
        calibration, threshold, held_out_confidences = tools.calibrate(fitted)
        reference = reference_histograms(
            corpus.windows, labels=corpus.label_space.labels, confidences=held_out_confidences
        )
        written = {"calibration": calibration, "threshold": threshold, "manifest": manifest, "reference": reference}
        dev = list(_records_of(config.records, splits=("dev",))) if "dev" not in config.splits else []
        evaluated_on = "dev" if dev else "held-out"
        if not dev:
            # Measured before the refit, which would have seen these patients.
            bundle = tools.write(fitted, **written)
            evaluation, predictions = tools.evaluate(bundle, list(corpus.held_out_records()))
        if config.refit:
            fitted = tools.fit("refit", np.arange(len(corpus.windows)), epochs=fitted.result.best_epoch)
        bundle = tools.write(fitted, **written)
        if dev:
            evaluation, predictions = tools.evaluate(bundle, dev)
        measured = dev or list(corpus.held_out_records())
        run.log_evaluation(evaluation)
        run.log_figures(evaluation_figures(measured, predictions, evaluation))
        stages = ("fit", "refit") if config.refit else ("fit",)
        losses = {stage: run.curve(f"{stage}.loss") for stage in stages}
        run.log_figures({"training": training_curve(losses, {"fit": run.curve(f"fit.{_HELD_OUT_SCORE}")})})
        version = register_version(run.run_id, bundle_folder=bundle, data_dir=data_dir, metrics=evaluation.overall)
    return TrainResult(run.run_id, version, evaluated_on, evaluation)


class _Tools:
    """The steps of one run, each with what they share."""

    def __init__(
        self,
        config: TrainConfig,
        corpus: Corpus,
        accelerator: Accelerator,
        run: TrackedRun,
        folder: Path,
        console: Console,
    ):
        self._config = config
        self._corpus = corpus
        self._accelerator = accelerator
        self._run = run
        self._folder = folder
        self._console = console

    def fit(self, stage: str, rows: NDArray[Any], *, epochs: int | None = None, hold_out: bool = False) -> _Fitted:
        """Train a fresh model on some records."""
        config, corpus = self._config, self._corpus
        windows = corpus.windows.select(rows)
        model, wrapped = build_model(config, corpus.descriptions_LD, prior_L=corpus.priors(windows))
        model.to(self._accelerator.device)
        sampler = LabelSampler(
            corpus.label_space.siblings(), num_sampled=config.head.num_sampled_labels, seed=config.seed
        )
        collator = Collator(sampler, pad_token_id=corpus.tokenizer.pad_token_id, lower_layers=corpus.lower_layers)
        steps_an_epoch = -(-len(windows) // config.optimisation.batch_records)
        total = steps_an_epoch * (epochs or config.optimisation.num_epochs)
        with progress_bar(f"{stage} on {len(windows):,}", total=total, console=self._console) as advance:
            shown = 0

            def report(step: int, loss: float, score: float | None) -> None:
                nonlocal shown
                self._run.log_curve(step, **{f"{stage}.loss": loss})
                note = f"loss {loss:.2f}"
                if score is not None:
                    self._run.log_curve(step, **{f"{stage}.{_HELD_OUT_SCORE}": score})
                    note += f"  held-out MAP {score:.3f}"
                advance(step - shown, note)
                shown = step

            result = fit(
                model,
                windows,
                collator,
                config=config,
                accelerator=self._accelerator,
                checkpoints=self._folder / stage,
                stop_after_epochs=epochs,
                held_out_score=(lambda: self._held_out_score(model)) if hold_out else None,
                report=report,
                before_checkpoint=self._run.flush,
            )
        return _Fitted(model, wrapped, result)

    def _held_out_logits(self, model: CodingModel) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        windows = self._corpus.windows.select(np.flatnonzero(self._corpus.held_out))
        logits_NL = score_windows(
            model,
            windows,
            pad_token_id=self._corpus.tokenizer.pad_token_id,
            lower_layers=self._corpus.lower_layers,
            num_lower_layers=num_lower_layers(model, self._config),
            device=self._accelerator.device,
            autocast=self._accelerator.autocast,
        )
        return logits_NL, *gold_and_known(windows, num_labels=len(self._corpus.label_space.labels))

    def _held_out_score(self, model: CodingModel) -> float:
        logits_NL, gold_NL, _ = self._held_out_logits(model)
        return mean_average_precision(logits_NL, gold_NL)

    def calibrate(self, fitted: _Fitted) -> tuple[Calibration, float, NDArray[Any]]:
        """Fit calibration and threshold on the held-out records; gives their confidences too."""
        logits_NL, gold_NL, known_NL = self._held_out_logits(fitted.model)
        share_NL = lexical_shares(self._corpus.lexical, self._corpus.held_out_records())
        calibration, threshold = calibrate(logits_NL, share_NL, gold_NL, known_NL, seed=self._config.seed)
        return calibration, threshold, confidences(logits_NL, share_NL, calibration)

    def write(self, fitted: _Fitted, **written: object) -> Path:
        """Write the bundle of a trained model."""
        return write_bundle(
            self._folder / "bundle",
            config=self._config,
            wrapped=fitted.wrapped,
            head=fitted.model.head,
            tokenizer=self._corpus.tokenizer,
            label_space=self._corpus.label_space,
            lexical=self._corpus.lexical,
            code_commit=_code_commit(),
            **written,  # type: ignore[arg-type]
        )

    def evaluate(self, bundle: Path, records: list[CodedRecord]) -> tuple[Evaluation, list[Prediction]]:
        """Measure a bundle as it will be served."""
        scorer = Scorer(bundle, device=str(self._accelerator.device))
        with progress_bar("evaluate", total=len(records), console=self._console) as advance:
            predictions = list(predict(scorer, records, version="candidate", progress=advance))
        return evaluate(records, predictions), predictions


def _records_of(spec: str, *, splits: tuple[str, ...], rejects: Path | None = None) -> Iterator[CodedRecord]:
    wanted = {Split(split) for split in splits}
    return (record for record in read_records(spec, rejects=rejects) if record.split in wanted)


def _counted(records: Iterator[CodedRecord], advance: Callable[[int], None]) -> Iterator[CodedRecord]:
    for record in records:
        yield record
        advance(1)


def _without_folders(spec: str) -> str:
    """The record spec with only the last part of its path, as a manifest may hold it."""
    return re.sub(r"^(\w+:)(?:[^?]*/)?([^?]*)", r"\1\2", spec)


def _code_commit() -> str | None:
    """Commit of the checkout that this code runs from; None outside one."""
    git, root = shutil.which("git"), Path(__file__).resolve().parents[1]
    if git is None or not (root / ".git").exists():
        return None
    done = subprocess.run([git, "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
