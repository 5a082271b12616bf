"""Stage 3: the training loop, with checkpoints that a killed run goes on from.

Takes a model and token windows, leaves the model with its best weights. A resumed run gives the same result
as one that was never killed: the order of records and the sampled labels depend on the seed and the step
alone, and the state of every random generator is in the checkpoint. Several processes give the losses of one,
dropout aside, which each draws for its own records.

Shapes: B records, N tokens of all records, S sampled labels, E evidence entries.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import nn

from training.batches import Batch, Collator
from training.checkpoints import Checkpoints
from training.config import TrainConfig
from training.model.freed_memory import return_free_memory
from training.optimisers import Optimisers
from training.processes import release_model, share, take_over_weights
from training.step import NotFiniteError, PassTooLargeError, train_step

__all__ = ["FitResult", "fit"]

logger = logging.getLogger(__name__)

_TRIM_STEPS = 10


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a fit went."""

    best_epoch: int
    """Epochs that served the held-out records best, from 1; all of them when nothing was held out."""
    num_steps: int


def fit(
    model: nn.Module,
    windows: Dataset,
    collator: Collator,
    *,
    config: TrainConfig,
    accelerator: Accelerator,
    checkpoints: Path,
    stop_after_epochs: int | None = None,
    held_out_score: Callable[[], float] | None = None,
    report: Callable[[int, float, float | None], None],
    before_checkpoint: Callable[[], None],
) -> FitResult:
    """Train LoRA and head.

    Args:
        model: A CodingModel whose encoder has LoRA.
        windows: From ``cut_records``, with the column ``row`` that names each record's stored lower layers.
        collator: Makes the batches.
        config: The run's.
        accelerator: Device, precision and processes.
        checkpoints: Folder of this fit's checkpoints; a fit that finds one there goes on from it.
        stop_after_epochs: Leave the schedule after that many epochs; None runs it to its end.
        held_out_score: Measures the model, greater is better; the best epoch's weights are kept. Asked in the first
            process alone.
        report: Called with step, loss, and, at the end of an epoch, the held-out score.
        before_checkpoint: Called before a checkpoint is written, so that what was reported is kept by then:
            a fit that goes on from there does not report it again.

    Raises:
        ValueError: A loss or gradient is not finite.
    """
    try:
        return _fit(
            model,
            windows,
            _Passes(collator, config.optimisation.max_tokens_a_pass, accelerator),
            config=config,
            accelerator=accelerator,
            kept=Checkpoints(checkpoints, accelerator),
            num_epochs=stop_after_epochs or config.optimisation.num_epochs,
            held_out_score=held_out_score,
            report=report,
            before_checkpoint=before_checkpoint,
        )
    finally:
        # Model and optimisers would be written into the checkpoints of the next fit, and held until then.
        accelerator.free_memory()


def _fit(
    model: nn.Module,
    windows: Dataset,
    passes: "_Passes",
    *,
    config: TrainConfig,
    accelerator: Accelerator,
    kept: Checkpoints,
    num_epochs: int,
    held_out_score: Callable[[], float] | None,
    report: Callable[[int, float, float | None], None],
    before_checkpoint: Callable[[], None],
) -> FitResult:
    options = config.optimisation
    steps_an_epoch = -(-len(windows) // options.batch_records)
    optimisers = Optimisers(model, options, total_steps=options.num_epochs * steps_an_epoch, accelerator=accelerator)
    # Gradients are exchanged by the optimisers, which know the rows of label tables: no wrapper that does it too.
    prepared = accelerator.prepare_model(model, evaluation_mode=True)
    take_over_weights(model, accelerator)
    if accelerator.process_index:
        # Dropout of its own: all processes begin with the same random state.
        torch.manual_seed(torch.initial_seed() + accelerator.process_index)
    progress = kept.resume()
    while progress.step < num_epochs * steps_an_epoch and not progress.stopped:
        epoch, at = divmod(progress.step, steps_an_epoch)
        prepared.train()
        order = np.random.default_rng([config.seed, epoch]).permutation(len(windows))
        chosen = order[at * options.batch_records : (at + 1) * options.batch_records]
        loss = passes.take(
            lambda taken: train_step(prepared, taken, optimisers=optimisers, accelerator=accelerator, config=config),
            [windows[int(row)] for row in chosen],
            step=progress.step,
        )
        progress.step += 1
        if progress.step % _TRIM_STEPS == 0:
            return_free_memory()
        score = None
        if progress.step % steps_an_epoch == 0 and held_out_score is not None:
            optimisers.before_reading_all()
            score = share(held_out_score() if accelerator.is_main_process else None, accelerator)
            if score > progress.best_score:
                progress.best_epoch, progress.best_score = epoch + 1, score
                kept.save_best(model)
            progress.stopped = epoch + 1 - progress.best_epoch >= options.patience_epochs
        report(progress.step, loss, score)
        if progress.step % options.checkpoint_steps == 0 or progress.step % steps_an_epoch == 0:
            before_checkpoint()
            kept.save(progress)
    optimisers.before_reading_all()
    release_model(prepared, accelerator)
    if held_out_score is not None:
        kept.load_best(model)
    return FitResult(progress.best_epoch or num_epochs, progress.step)


class _Passes:
    """Parts a batch into passes that fit memory; where one does not, into smaller ones from then on."""

    def __init__(self, collator: Collator, max_tokens: int, accelerator: Accelerator):
        self._collator = collator
        self._max_tokens = max_tokens
        self._accelerator = accelerator

    def take(
        self, take_step: Callable[[Sequence[Batch]], float], rows: Sequence[Mapping[str, Any]], *, step: int
    ) -> float:
        """Take one step on this process's share of some rows; gives the loss.

        Raises:
            ValueError: A record alone does not fit memory; a loss or gradient is not finite.
        """
        while True:
            passes = self._collator(
                rows,
                step=step,
                max_tokens=self._max_tokens,
                process_index=self._accelerator.process_index,
                num_processes=self._accelerator.num_processes,
            )
            try:
                return take_step(passes)
            except NotFiniteError as error:
                named = ", ".join(row["record_id"] for row in rows)
                raise ValueError(f"step {step + 1}, records {named}: {error}") from None
            except PassTooLargeError:
                largest = max((one.windows.lengths for one in passes), key=sum)
            if len(largest) == 1:
                raise ValueError(
                    f"memory does not suffice to train on a record of {sum(largest)} tokens; "
                    "set optimisation.activation_checkpointing: true, or lower windowing.max_windows"
                )
            self._max_tokens = sum(largest) // 2
            logger.warning("out of memory: a training step now reads at most %d tokens a pass", self._max_tokens)
