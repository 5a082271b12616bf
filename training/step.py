"""One update of LoRA and head: the losses, the gradient, and a stop before what is not finite.

Takes a model and the batch of one step, in one or several passes; the loop around it is ``fit``.

Shapes: B records, N tokens of all records, S sampled labels, E evidence entries.
"""

import math
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn

from training.batches import Batch
from training.config import TrainConfig
from training.optimisers import Optimisers

__all__ = ["NotFiniteError", "PassTooLargeError", "code_loss", "evidence_loss", "num_lower_layers", "train_step"]


class NotFiniteError(ValueError):
    """Loss or gradient is not finite; the weights are as they were before the step."""


class PassTooLargeError(Exception):
    """Memory did not suffice for a pass; nothing was updated, and gradients are as before the step."""


def code_loss(logits_BS: Tensor, targets_BS: Tensor, weights_BS: Tensor) -> Tensor:
    """Weighted binary cross-entropy, summed over labels and records."""
    losses_BS = nn.functional.binary_cross_entropy_with_logits(logits_BS, targets_BS, reduction="none")
    return (losses_BS * weights_BS).sum()


def evidence_loss(attention_SN: Tensor, batch: Batch) -> Tensor:
    """Minus the log of the attention that falls on the supporting tokens, summed over records."""
    if not len(batch.evidence_column_E):
        return attention_SN.new_zeros(())
    on_evidence_E = (attention_SN[batch.evidence_column_E] * batch.evidence_EN).sum(dim=1)
    return -on_evidence_E.clamp(min=1e-6).log().sum()


def train_step(
    model: nn.Module,
    passes: Sequence[Batch],
    *,
    optimisers: Optimisers,
    accelerator: Accelerator,
    config: TrainConfig,
) -> float:
    """One update.

    Args:
        model: The CodingModel, as the accelerator prepared it.
        passes: The records of this process's share of the batch, on any device; their gradients add up.
        optimisers: Of the fit.
        accelerator: Device and precision.
        config: The run's.

    Returns:
        The loss over the whole batch, a mean over its records, those of other processes included.

    Raises:
        NotFiniteError: The step was not taken.
        PassTooLargeError: Memory does not suffice.
    """
    labels_S = passes[0].labels_S.to(accelerator.device)
    optimisers.before_reading(labels_S)
    try:
        loss = _backward(model, passes, accelerator=accelerator, config=config)
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        optimisers.zero_grad()
        raise PassTooLargeError from None
    loss_of_step, norm = optimisers.combine(loss, labels_S, max_norm=config.optimisation.max_gradient_norm)
    if not (math.isfinite(loss_of_step) and math.isfinite(norm)):
        raise NotFiniteError(
            f"the loss ({loss_of_step}) or the gradient norm ({norm}) is not finite; the step was not taken: "
            "lower the learning rates, set optimisation.precision to fp32, or lower the weights of the records' codes"
        )
    optimisers.step()
    optimisers.zero_grad()
    return loss_of_step


def _backward(model: nn.Module, passes: Sequence[Batch], *, accelerator: Accelerator, config: TrainConfig) -> Tensor:
    """Add the gradients of every pass; gives this process's part of the loss."""
    num_lower = num_lower_layers(model, config)
    total = torch.zeros((), device=accelerator.device)
    for one in passes:
        if not one.windows.lengths:
            continue
        batch = one.to(accelerator.device)
        logits_BS, attention_SN, _ = model(batch.windows, batch.labels_S, lower=batch.lower, num_lower_layers=num_lower)
        loss = code_loss(logits_BS, batch.targets_BS, batch.weights_BS)
        if config.head.evidence_weight:
            loss = loss + config.head.evidence_weight * evidence_loss(attention_SN, batch)
        loss = loss / batch.num_records_of_step
        accelerator.backward(loss)
        total += loss.detach()
    return total


def num_lower_layers(model: nn.Module, config: TrainConfig) -> int:
    """How many layers lie below the lowest with LoRA."""
    return int(model.encoder.config.num_hidden_layers) - config.lora.num_top_layers  # type: ignore[union-attr, arg-type]
