"""Encoder and label attention as one module: from packed windows to logits.

The head reads each record's tokens in one flat row: a long record costs its neighbours nothing.

Shapes: W windows, T tokens a window, H hidden size, B records, N tokens of all records, S scored labels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.model.encoder import encode, recall_lower_layers
from training.model.head import LabelAttention
from training.model.packing import PackedWindows

__all__ = ["CodingModel", "encode_packed"]


def encode_packed(
    encoder: nn.Module, windows: PackedWindows, *, lower: Sequence[Tensor] | None = None, num_lower_layers: int = 0
) -> Tensor:
    """Hidden states of every record's tokens, record after record.

    Args:
        encoder: The encoder.
        windows: The records' windows.
        lower: Stored output of the frozen lower layers for each stack [W, T, H]; they are then not run again.
        num_lower_layers: How many layers that output stands for.

    Returns:
        States [N, H].
    """
    hidden = []
    for at, stack in enumerate(windows.stacks):
        if lower is None:
            hidden_WTH = encode(encoder, stack.input_ids_WT, stack.mask_WT, stack.edges)
        else:
            with recall_lower_layers(encoder, num_lower_layers) as slot:
                slot.hidden_WTH = lower[at]
                hidden_WTH = encode(encoder, stack.input_ids_WT, stack.mask_WT, stack.edges)
        hidden.append(hidden_WTH.flatten(0, 1))
    return torch.cat(hidden)[windows.token_index_N]


class CodingModel(nn.Module):
    """The encoder (plain, or with LoRA) and the label attention head."""

    def __init__(self, encoder: nn.Module, head: LabelAttention):
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(
        self,
        windows: PackedWindows,
        labels_S: Tensor | None = None,
        *,
        lower: Sequence[Tensor] | None = None,
        num_lower_layers: int = 0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score labels for each record.

        Args:
            windows: The records' windows.
            labels_S: Labels to score; all when None.
            lower: See ``encode_packed``.
            num_lower_layers: The same.

        Returns:
            logits [B, S], attention [S, N], value [S, N]; see LabelAttention.
        """
        hidden_NH = encode_packed(self.encoder, windows, lower=lower, num_lower_layers=num_lower_layers)
        return self.head(hidden_NH, windows.lengths, labels_S)  # type: ignore[no-any-return]
