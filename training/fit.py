"""Stage 3: the training loop, with checkpoints that a killed run goes on from.

Takes a model and token windows, leaves the model with its best weights. A resumed run gives the same result
as one that was never killed: the order of records and the sampled labels depend on the seed and the step
alone, and the state of every random generator is in the checkpoint.

Shapes: B records, N tokens of all records, S sampled labels, E evidence entries.
"""

import ctypes
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clinical_coding.artefact import publish_folder, publish_path
from training.batches import Collator
from training.config import TrainConfig
from training.step import parameter_groups, train_step

__all__ = ["FitResult", "fit"]


_TRIM_STEPS = 10


def _return_free_memory() -> None:
    """Give freed blocks back to the system, where the C library can.

    No two batches have the same shape, and glibc keeps the blocks of each: 40 steps without this grow from 1.8 to
    3.8 GB, with it they stay at 0.8 GB and take as long.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@dataclass
class _Progress:
    """Where a run stands; the part of a checkpoint that is ours."""

    step: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a fit went."""

    best_epoch: int
    """Epochs that served the held-out records best, from 1; all of them when nothing was held out."""
    num_steps: int


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every trained parameter by name."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


def load_trained(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put trained parameters back."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state.items():
            parameters[name].copy_(value)


def _save(accelerator: Accelerator, progress: _Progress, folder: Path) -> None:
    """Write a checkpoint aside, then let it take the place of the last."""
    aside = folder / "aside"
    shutil.rmtree(aside, ignore_errors=True)
    accelerator.save_state(str(aside))
    (aside / "progress.json").write_text(json.dumps(asdict(progress)))
    final = folder / f"step-{progress.step:09d}"
    publish_folder(aside, final)
    for older in folder.glob("step-*"):
        if older != final:
            shutil.rmtree(older)


def _resume(accelerator: Accelerator, folder: Path) -> _Progress:
    checkpoints = sorted(folder.glob("step-*"))
    if not checkpoints:
        return _Progress()
    accelerator.load_state(str(checkpoints[-1]))
    return _Progress(**json.loads((checkpoints[-1] / "progress.json").read_text()))


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
        accelerator: Device and precision.
        checkpoints: Folder of this fit's checkpoints; a fit that finds one there goes on from it.
        stop_after_epochs: Leave the schedule after that many epochs; None runs it to its end.
        held_out_score: Measures the model, greater is better; the best epoch's weights are kept.
        report: Called with step, loss, and, at the end of an epoch, the held-out score.
        before_checkpoint: Called before a checkpoint is written, so that what was reported is kept by then:
            a fit that goes on from there does not report it again.

    Raises:
        ValueError: A loss or gradient is not finite.
    """
    options = config.optimisation
    steps_an_epoch = -(-len(windows) // options.batch_records)
    # An earlier fit's model and optimiser would be written into this one's checkpoints.
    accelerator.free_memory()
    # One pass over each parameter: 3 ms a step of the sample configuration on a CPU, 20 otherwise.
    optimiser = torch.optim.AdamW(parameter_groups(model, config), weight_decay=options.weight_decay, fused=True)
    total_steps = options.num_epochs * steps_an_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        [options.lora_learning_rate, options.head_learning_rate],
        total_steps=total_steps,
        # In a run of few steps the share may be one step, in which torch divides by zero.
        pct_start=max(options.warmup_share, min(1.5 / total_steps, 0.75)),
    )
    prepared, optimiser, schedule = accelerator.prepare(model, optimiser, schedule)
    progress = _resume(accelerator, checkpoints)
    checkpoints.mkdir(parents=True, exist_ok=True)
    num_epochs = stop_after_epochs or options.num_epochs
    best_file = checkpoints / "best.safetensors"
    while progress.step < num_epochs * steps_an_epoch and not progress.stopped:
        epoch, at = divmod(progress.step, steps_an_epoch)
        prepared.train()
        order = np.random.default_rng([config.seed, epoch]).permutation(len(windows))
        chosen = order[at * options.batch_records : (at + 1) * options.batch_records]
        batch = collator([windows[int(row)] for row in chosen], step=progress.step).to(accelerator.device)
        loss = train_step(
            prepared, batch, optimiser=optimiser, schedule=schedule, accelerator=accelerator, config=config
        )
        progress.step += 1
        if progress.step % _TRIM_STEPS == 0:
            _return_free_memory()
        score = None
        if progress.step % steps_an_epoch == 0 and held_out_score is not None:
            score = held_out_score()
            if score > progress.best_score:
                progress.best_epoch, progress.best_score = epoch + 1, score
                with publish_path(best_file) as aside:
                    save_file(trained_state(model), aside)
            progress.stopped = epoch + 1 - progress.best_epoch >= options.patience_epochs
        report(progress.step, loss, score)
        if progress.step % options.checkpoint_steps == 0 or progress.step % steps_an_epoch == 0:
            before_checkpoint()
            _save(accelerator, progress, checkpoints)
    if held_out_score is not None:
        load_trained(model, load_file(best_file))
    return FitResult(progress.best_epoch or num_epochs, progress.step)
