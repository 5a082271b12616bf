"""Dropout of the layers that are trained, at a fifth of the time on a CPU.

PyTorch draws one random number for each element there, in one thread: a quarter of a training step. One drawn
64-bit word serves eight elements, so the share that is dropped is a multiple of 1/256.

The frozen layers below drop nothing: what they give for a record is the same in every step, stored or not.
Attention drops nothing either: the fast kernels, which never hold the matrix of a window's pairs, do not offer it.
"""

from typing import Any

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
        num_dropped_levels = round(self.p * _LEVELS)
        words = torch.empty(-(-hidden.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        is_dropped = (words.view(torch.uint8)[: hidden.numel()] < num_dropped_levels).view(hidden.shape)
        scale = _LEVELS / (_LEVELS - num_dropped_levels)
        return _Dropped.apply(hidden, is_dropped, scale)  # type: ignore[no-untyped-call, no-any-return]


class _Dropped(torch.autograd.Function):
    """Scaled in place after the copy that dropping makes; keeps one byte an element for the way back."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, is_dropped: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(is_dropped)
        ctx.scale = scale
        return hidden.masked_fill(is_dropped, 0).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (is_dropped,) = ctx.saved_tensors
        return gradients[0].masked_fill(is_dropped, 0).mul_(ctx.scale), None, None


def drop_in_top_layers(encoder: nn.Module, *, num_top_layers: int) -> None:
    """Let the top layers drop by ``Dropout``, at the rates that they have, and all else in the encoder nothing."""
    owner, name = layer_list(encoder)
    top = list(getattr(owner, name))[-num_top_layers:]
    in_top = {module for layer in top for module in layer.modules()}
    for parent in list(encoder.modules()):
        for child_name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(parent, child_name, Dropout(child.p if child in in_top else 0.0))
