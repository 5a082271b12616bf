"""The steps of one training run, each with what they share; ``train`` puts them in order.

Shapes: N held-out records, L labels.
"""

import shutil
import subprocess
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from peft import PeftModel
from rich.console import Console

from clinical_coding.bundle import Calibration
from clinical_coding.metrics import Evaluation, evaluate
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord
from training.batches import Collator
from training.build import build_model
from training.bundle_writer import write_bundle
from training.calibrate import calibrate
from training.config import TrainConfig
from training.corpus import Corpus
from training.fit import FitResult, fit
from training.held_out import gold_and_known, lexical_shares, mean_average_precision, score_windows
from training.label_sampler import LabelSampler
from training.model.calibration import confidences
from training.model.coding_model import CodingModel
from training.model.scorer import Scorer
from training.model.varlen import reads_flat_rows
from training.predict import predict
from training.progress import progress_bar
from training.step import num_lower_layers
from training.tracking import TrackedRun

__all__ = ["HELD_OUT_SCORE", "Fitted", "Steps", "code_commit"]

HELD_OUT_SCORE = "held_out_mean_average_precision"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained model and how it got there."""

    model: CodingModel
    wrapped: PeftModel
    result: FitResult


class Steps:
    """The steps of one run, each with what they share; a process that only helps to fit has no run to write to."""

    def __init__(
        self,
        config: TrainConfig,
        corpus: Corpus,
        accelerator: Accelerator,
        run: TrackedRun | None,
        folder: Path,
        console: Console,
    ):
        self._config = config
        self._corpus = corpus
        self._accelerator = accelerator
        self._run = run
        self._folder = folder
        self._console = console

    def fit(self, stage: str, rows: NDArray[Any], *, epochs: int | None = None, hold_out: bool = False) -> Fitted:
        """Train a fresh model on some records."""
        config, corpus = self._config, self._corpus
        windows = corpus.windows.select(rows)
        model, wrapped = build_model(config, corpus.descriptions_LD, prior_L=corpus.priors(windows))
        model.to(self._accelerator.device)
        sampler = LabelSampler(
            corpus.label_space.siblings(), num_sampled=config.head.num_sampled_labels, seed=config.seed
        )
        with self._accelerator.autocast():
            flat = reads_flat_rows(model.encoder)
        collator = Collator(
            sampler, pad_token_id=corpus.tokenizer.pad_token_id, lower_layers=corpus.lower_layers, flat=flat
        )
        steps_an_epoch = -(-len(windows) // config.optimisation.batch_records)
        total = steps_an_epoch * (epochs or config.optimisation.num_epochs)
        with progress_bar(f"{stage} on {len(windows):,}", total=total, console=self._console) as advance:
            shown = 0

            def report(step: int, loss: float, score: float | None) -> None:
                nonlocal shown
                values = {f"{stage}.loss": loss}
                note = f"loss {loss:.2f}"
                if score is not None:
                    values[f"{stage}.{HELD_OUT_SCORE}"] = score
                    note += f"  held-out MAP {score:.3f}"
                if self._run is not None:
                    self._run.log_curve(step, **values)
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
                held_out_score=(lambda: self._held_out_score(model, flat=flat)) if hold_out else None,
                report=report,
                before_checkpoint=self._run.flush if self._run is not None else lambda: None,
            )
        return Fitted(model, wrapped, result)

    def _held_out_score(self, model: CodingModel, *, flat: bool) -> float:
        windows = self._corpus.held_out_windows()
        logits_NL = score_windows(
            model,
            windows,
            pad_token_id=self._corpus.tokenizer.pad_token_id,
            lower_layers=self._corpus.lower_layers,
            num_lower_layers=num_lower_layers(model, self._config),
            device=self._accelerator.device,
            autocast=self._accelerator.autocast,
            flat=flat,
        )
        gold_NL, known_NL = gold_and_known(windows, num_labels=logits_NL.shape[1])
        # At the end of the ranking a masked code keeps no other from its place.
        ranked_NL = np.where(known_NL, logits_NL, -np.inf)
        return mean_average_precision(ranked_NL, gold_NL, num_gold_N=windows["num_gold"])

    def calibrate(self, fitted: Fitted) -> tuple[Calibration, float, NDArray[Any]]:
        """Fit calibration and threshold on the held-out records; gives their confidences too."""
        windows = self._corpus.held_out_windows()
        # In float32 and through every layer, as a CPU serves the bundle; a GPU's bfloat16 moves confidences by 0.02.
        logits_NL = score_windows(
            fitted.model,
            windows,
            pad_token_id=self._corpus.tokenizer.pad_token_id,
            lower_layers=None,
            num_lower_layers=0,
            device=self._accelerator.device,
            autocast=nullcontext,
        )
        share_NL = lexical_shares(self._corpus.lexical, self._corpus.held_out_records())
        gold_NL, known_NL = gold_and_known(windows, num_labels=logits_NL.shape[1])
        num_gold = sum(windows["num_gold"])
        calibration, threshold = calibrate(
            logits_NL, share_NL, gold_NL, known_NL, num_gold=num_gold, seed=self._config.seed
        )
        return calibration, threshold, confidences(logits_NL, share_NL, calibration)

    def write(self, fitted: Fitted, **written: object) -> Path:
        """Write the bundle of a trained model."""
        return write_bundle(
            self._folder / "bundle",
            config=self._config,
            wrapped=fitted.wrapped,
            head=fitted.model.head,
            tokenizer=self._corpus.tokenizer,
            label_space=self._corpus.label_space,
            lexical=self._corpus.lexical,
            code_commit=code_commit(),
            **written,  # type: ignore[arg-type]
        )

    def evaluate(self, bundle: Path, records: list[CodedRecord]) -> tuple[Evaluation, list[Prediction]]:
        """Measure a bundle as it will be served."""
        scorer = Scorer(bundle, device=str(self._accelerator.device))
        with progress_bar("evaluate", total=len(records), console=self._console) as advance:
            predictions = list(predict(scorer, records, version=scorer.bundle_sha256[:12], progress=advance))
        return evaluate(records, predictions), predictions


def code_commit() -> str | None:
    """Commit of the checkout that this code runs from; None outside one."""
    git, root = shutil.which("git"), Path(__file__).resolve().parents[1]
    if git is None or not (root / ".git").exists():
        return None
    done = subprocess.run([git, "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
