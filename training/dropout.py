"""Dropout of the layers that are trained, at less than a third of the time on two CPU cores.

PyTorch draws one random number for each element there, in one thread: a quarter of a training step. One drawn
64-bit word serves eight elements, so the share that is dropped is a multiple of 1/256.

The frozen layers below drop nothing: what they give for a record is the same in every step, stored or not.
Attention drops nothing either: the fast kernels, which never hold the matrix of a window's pairs, do not offer it.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.model.encoder import layer_list

__all__ = ["Dropout", "drop_in_top_layers"]

_LEVELS = 256


class Dropout(nn.Module):
    """Zero a share of the elements, the nearest multiple of 1/256 on a CPU, and scale the rest."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, hidden: Tensor) -> Tensor:
        """Drop elements of a tensor of any shape; none in evaluation mode."""
        if not self.training or self.p == 0:
            return hidden
        if hidden.device.type != "cpu":
            return nn.functional.dropout(hidden, self.p)
        # PyTorch's generator gives the seed, so that its state is all that a checkpoint must keep.
        seed = int(torch.empty((), dtype=torch.int64).random_())
        words = np.random.SFC64(seed).random_raw(-(-hidden.numel() // 8))
        levels = torch.from_numpy(words.view(np.uint8)[: hidden.numel()]).view(hidden.shape)
        return _Dropped.apply(hidden, levels, round(self.p * _LEVELS))  # type: ignore[no-untyped-call, no-any-return]


class _Dropped(torch.autograd.Function):
    """Two passes over memory each way; keeps one byte an element."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, levels: Tensor, num_dropped_levels: int) -> Tensor:
        ctx.save_for_backward(levels)
        ctx.num_dropped_levels = num_dropped_levels
        return _kept(hidden, levels, num_dropped_levels)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (levels,) = ctx.saved_tensors
        return _kept(gradients[0], levels, ctx.num_dropped_levels), None, None


def _kept(values: Tensor, levels: Tensor, num_dropped_levels: int) -> Tensor:
    is_kept = torch.ge(levels, num_dropped_levels, out=torch.empty_like(values))
    scale = _LEVELS / (_LEVELS - num_dropped_levels)
    return torch.addcmul(values.new_zeros(()), values, is_kept, value=scale)


def drop_in_top_layers(encoder: nn.Module, *, num_top_layers: int) -> None:
    """Let the top layers drop by ``Dropout``, at the rates that they have, and all else in the encoder nothing."""
    owner, name = layer_list(encoder)
    top = list(getattr(owner, name))[-num_top_layers:]
    in_top = {module for layer in top for module in layer.modules()}
    for parent in list(encoder.modules()):
        for child_name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(parent, child_name, Dropout(child.p if child in in_top else 0.0))
