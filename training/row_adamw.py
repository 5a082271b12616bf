"""AdamW for tables of which a step reads a few rows: a step costs what those rows cost, however long the table is.

Takes sparse gradients, as ``nn.Embedding(sparse=True)`` gives them. What AdamW does to a row without gradient depends
on nothing but the learning rates of those steps, so it is done in one go before the row is next read: the rows are
then where AdamW over the whole table would have them. Of that only epsilon, far below any gradient that counts, is
left out of the steps in between. A step knows nothing of labels.

Source: decoupled weight decay, Loshchilov and Hutter 2019 (arXiv:1711.05101).

Shapes: L rows of a table, R rows that a step reads, H columns, K steps since all rows were last up to date.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor

__all__ = ["RowAdamW"]

_STEPS_BETWEEN_SWEEPS: Final = 128
"""All rows are brought up to date so often: 80,000 rows of 384 columns take half a second on two cores."""


class RowAdamW(torch.optim.Optimizer):
    """AdamW over the rows that have a gradient; ``bring_up_to_date`` before rows are read."""

    def __init__(
        self,
        tables: Iterable[torch.nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float,
    ):
        """Take the tables [L, H]; the numbers are those of ``torch.optim.AdamW``."""
        super().__init__(tables, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        for group in self.param_groups:
            group["num_steps"], group["since_sweep"] = 0, []
            for table in group["params"]:
                self.state[table] = {
                    "exp_avg": torch.zeros_like(table),
                    "exp_avg_sq": torch.zeros_like(table),
                    "current_L": torch.zeros(len(table), dtype=torch.long, device=table.device),
                }

    @torch.no_grad()
    def bring_up_to_date(self, rows_R: Tensor | None = None) -> None:
        """Do what steps without a gradient owe to some rows; to all when None."""
        for group in self.param_groups:
            owed_K4 = _owed(group)
            for table in group["params"]:
                self._catch_up(table, rows_R, owed_K4.to(table.device), num_steps=group["num_steps"])
            if rows_R is None:
                group["since_sweep"] = []

    def _catch_up(self, table: Tensor, rows_R: Tensor | None, owed_K4: Tensor, *, num_steps: int) -> None:
        state = self.state[table]
        current_R = state["current_L"] if rows_R is None else state["current_L"][rows_R]
        behind_R = num_steps - current_R
        late_R = behind_R > 0
        rows_R, behind_R = (late_R.nonzero().squeeze(1) if rows_R is None else rows_R[late_R]), behind_R[late_R]
        if not len(rows_R):
            return
        decay_R1, moved_R1, of_first_R1, of_second_R1 = owed_K4[behind_R].to(table.dtype).unsqueeze(2).unbind(1)
        first_RH, second_RH = state["exp_avg"][rows_R], state["exp_avg_sq"][rows_R]
        eps = self.param_groups[0]["eps"]
        table[rows_R] = table[rows_R] * decay_R1 - moved_R1 * first_RH / (second_RH.sqrt() + eps)
        state["exp_avg"][rows_R] = first_RH * of_first_R1
        state["exp_avg_sq"][rows_R] = second_RH * of_second_R1
        state["current_L"][rows_R] = num_steps

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the rows with a gradient; they must be up to date."""
        assert closure is None
        for group in self.param_groups:
            group["num_steps"] += 1
            step, lr, (beta1, beta2) = group["num_steps"], group["lr"], group["betas"]
            for table in group["params"]:
                if table.grad is None:
                    continue
                gradient = table.grad.coalesce()
                rows_R, gradient_RH, state = gradient.indices()[0], gradient.values(), self.state[table]
                first_RH = state["exp_avg"][rows_R].lerp_(gradient_RH, 1 - beta1)
                second_RH = state["exp_avg_sq"][rows_R].mul_(beta2).addcmul_(gradient_RH, gradient_RH, value=1 - beta2)
                scale_RH = second_RH.div(1 - beta2**step).sqrt_().add_(group["eps"])
                kept_RH = table[rows_R].mul_(1 - lr * group["weight_decay"])
                table[rows_R] = kept_RH.addcdiv_(first_RH, scale_RH, value=-lr / (1 - beta1**step))
                state["exp_avg"][rows_R], state["exp_avg_sq"][rows_R] = first_RH, second_RH
                state["current_L"][rows_R] = step
            group["since_sweep"].append((lr, beta1, beta2))
            if len(group["since_sweep"]) == _STEPS_BETWEEN_SWEEPS:
                self.bring_up_to_date()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimiser does; row numbers stay whole numbers."""
        current = {at: state["current_L"] for at, state in state_dict["state"].items()}
        super().load_state_dict(state_dict)
        for at, table in enumerate(table for group in self.param_groups for table in group["params"]):
            # Read as any state, they would take the table's floating type.
            self.state[table]["current_L"] = current[at].to(table.device, torch.long)


def _owed(group: dict[str, Any]) -> Tensor:
    """What a row that is k steps behind is owed, by k [K + 1, 4].

    Its factor of decay; how far it moves, in units of its first moment over the root of its second; the factors of
    the two moments.
    """
    owed = [(1.0, 0.0, 1.0, 1.0)]
    first_step = group["num_steps"] - len(group["since_sweep"]) + 1
    for at, (lr, beta1, beta2) in reversed(list(enumerate(group["since_sweep"]))):
        step = first_step + at
        decay, moved, of_first, of_second = owed[-1]
        own = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        keep = 1 - lr * group["weight_decay"]
        # This step comes before those that are counted already; both moments shrink in it first.
        owed.append(
            (
                decay * keep,
                decay * own * _ratio(beta1, beta2) + _ratio(beta1, beta2) * moved,
                of_first * beta1,
                of_second * beta2,
            )
        )
    return torch.tensor(owed, dtype=torch.float64)


def _ratio(beta1: float, beta2: float) -> float:
    """How the first moment over the root of the second changes in a step without gradient."""
    return beta1 / math.sqrt(beta2)
