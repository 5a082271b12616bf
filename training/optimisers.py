"""What moves the weights: fused AdamW for LoRA and the head's matrices, AdamW by rows for the label tables.

Takes gradients of one step, gives updated parameters, at the rates of a one-cycle schedule. Gradients are summed over
processes, and clipped by their common norm.
"""

from collections.abc import Iterator

import torch
from accelerate import Accelerator
from accelerate.utils import reduce
from torch import Tensor, nn

from training.config import Optimisation
from training.row_adamw import RowAdamW

__all__ = ["Optimisers"]


class Optimisers:
    """The optimisers of one fit, each with its schedule."""

    def __init__(self, model: nn.Module, options: Optimisation, *, total_steps: int, accelerator: Accelerator):
        """Set up for a CodingModel whose encoder has LoRA; the accelerator keeps their state in its checkpoints."""
        self._accelerator = accelerator
        tables = [
            table
            for module in model.modules()
            if isinstance(module, nn.Embedding) and module.sparse
            for table in module.parameters()
        ]
        lora = [parameter for parameter in model.encoder.parameters() if parameter.requires_grad]  # type: ignore[union-attr]
        of_head = [p for p in model.head.parameters() if not any(p is table for table in tables)]  # type: ignore[union-attr]
        rates = (options.lora_learning_rate, options.head_learning_rate)
        groups = [{"params": params, "lr": rate} for params, rate in zip((lora, of_head), rates, strict=True)]
        # One pass over each parameter: 3 ms a step of the sample configuration on a CPU, 20 otherwise.
        dense = torch.optim.AdamW(groups, weight_decay=options.weight_decay, fused=True)
        self._rows = RowAdamW(tables, lr=options.head_learning_rate, weight_decay=options.weight_decay)
        self._parameters = [*lora, *of_head]
        self._tables = tables
        # In a run of few steps the share may be one step, in which torch divides by zero.
        warmup = max(options.warmup_share, min(1.5 / total_steps, 0.75))
        one_cycle = torch.optim.lr_scheduler.OneCycleLR
        schedules = [
            one_cycle(dense, list(rates), total_steps=total_steps, pct_start=warmup),
            one_cycle(self._rows, options.head_learning_rate, total_steps=total_steps, pct_start=warmup),
        ]
        self._optimisers = [accelerator.prepare_optimizer(one) for one in (dense, self._rows)]
        self._schedules = [accelerator.prepare_scheduler(one) for one in schedules]

    def before_reading(self, labels_S: Tensor) -> None:
        """Bring the labels that a step scores up to date."""
        self._rows.bring_up_to_date(labels_S)

    def before_reading_all(self) -> None:
        """Bring every label up to date, to measure or keep the model."""
        self._rows.bring_up_to_date()

    def combine(self, loss: Tensor, labels_S: Tensor, *, max_norm: float) -> tuple[float, float]:
        """Sum loss and gradients over all processes, and clip.

        Args:
            loss: This process's part.
            labels_S: The labels that the step scores, the same in every process.
            max_norm: Greatest norm that the gradient is left with.

        Returns:
            The whole loss, and the norm of the whole gradient before it was clipped.
        """
        values = list(self._gradients(labels_S))
        if self._accelerator.num_processes > 1:
            # What is trained is a few megabytes: one exchange, after the last pass.
            flat = reduce(torch.cat([loss.reshape(1).float(), *(value.flatten() for value in values)]), "sum")
            loss, parts = flat[0], flat[1:].split([value.numel() for value in values])
            for value, part in zip(values, parts, strict=True):
                value.copy_(part.view_as(value))
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in values]))
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(values, scale)
        whole, before = torch.stack([loss.float(), norm.float()]).tolist()
        return whole, before

    def _gradients(self, labels_S: Tensor) -> Iterator[Tensor]:
        """The numbers of every gradient, zero where no record of this process gave any."""
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            yield parameter.grad
        for table in self._tables:
            if table.grad is None:
                none = table.new_zeros(len(labels_S), table.shape[1])
                table.grad = torch.sparse_coo_tensor(labels_S.unsqueeze(0), none, table.shape)
            table.grad = table.grad.coalesce()
            yield table.grad.values()

    def step(self) -> None:
        """Update the parameters."""
        for one in (*self._optimisers, *self._schedules):
            one.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for one in self._optimisers:
            one.zero_grad()
