"""One update of LoRA and head: the losses, the gradient, and a stop before what is not finite.

Takes a model and a batch; the loop around it is ``fit``.

Shapes: B records, N tokens of all records, S sampled labels, E evidence entries.
"""

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from training.batches import Batch
from training.config import TrainConfig

__all__ = ["code_loss", "evidence_loss", "num_lower_layers", "parameter_groups", "train_step"]


def code_loss(logits_BS: Tensor, targets_BS: Tensor, weights_BS: Tensor) -> Tensor:
    """Weighted binary cross-entropy, summed over labels, a mean over records."""
    losses_BS = nn.functional.binary_cross_entropy_with_logits(logits_BS, targets_BS, reduction="none")
    return (losses_BS * weights_BS).sum() / len(logits_BS)


def evidence_loss(attention_SN: Tensor, batch: Batch) -> Tensor:
    """Minus the log of the attention that falls on the supporting tokens, a mean over records."""
    if not len(batch.evidence_column_E):
        return attention_SN.new_zeros(())
    on_evidence_E = (attention_SN[batch.evidence_column_E] * batch.evidence_EN).sum(dim=1)
    return -on_evidence_E.clamp(min=1e-6).log().sum() / len(batch.targets_BS)


def train_step(
    model: nn.Module,
    batch: Batch,
    *,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    accelerator: Accelerator,
    config: TrainConfig,
) -> float:
    """One update.

    Returns:
        The loss.

    Raises:
        ValueError: Loss or gradient is not finite; the weights are as they were before the step.
    """
    num_lower = num_lower_layers(model, config)
    logits_BS, attention_SN, _ = model(batch.windows, batch.labels_S, lower=batch.lower, num_lower_layers=num_lower)
    loss = code_loss(logits_BS, batch.targets_BS, batch.weights_BS)
    if config.head.evidence_weight:
        loss = loss + config.head.evidence_weight * evidence_loss(attention_SN, batch)
    accelerator.backward(loss)
    trained = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    norm = accelerator.clip_grad_norm_(trained, config.optimisation.max_gradient_norm)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise ValueError(
            f"the loss ({loss.item()}) or the gradient norm ({norm.item()}) is not finite; the step was not taken: "
            "lower the learning rates, or set optimisation.precision to fp32"
        )
    optimiser.step()
    schedule.step()
    optimiser.zero_grad()
    return loss.item()


def num_lower_layers(model: nn.Module, config: TrainConfig) -> int:
    """How many layers lie below the lowest with LoRA."""
    return int(model.encoder.config.num_hidden_layers) - config.lora.num_top_layers  # type: ignore[union-attr, arg-type]


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, object]]:
    """What is trained, and how fast: LoRA, then the head."""
    lora = [parameter for parameter in model.encoder.parameters() if parameter.requires_grad]  # type: ignore[union-attr]
    head = list(model.head.parameters())  # type: ignore[union-attr]
    return [
        {"params": lora, "lr": config.optimisation.lora_learning_rate},
        {"params": head, "lr": config.optimisation.head_learning_rate},
    ]
