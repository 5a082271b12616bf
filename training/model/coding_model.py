"""Encoder and label attention as one module: from stacked windows to logits.

Shapes: W windows, T tokens a window, H hidden size, B records, M tokens a record, S scored labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.model.encoder import encode, recall_lower_layers
from training.model.head import LabelAttention

__all__ = ["CodingModel", "StackedWindows", "stack_windows"]


@dataclass(frozen=True, slots=True)
class StackedWindows:
    """Windows of several records, padded to the longest, and where each record's tokens lie among them."""

    input_ids_WT: Tensor
    mask_WT: Tensor
    token_index_BM: Tensor
    """Position of each record's tokens in the flattened [W * T]; special tokens are left out."""
    token_mask_BM: Tensor
    """True where token_index_BM is a real token."""

    def to(self, device: torch.device) -> "StackedWindows":
        """Copy to a device."""
        return StackedWindows(
            self.input_ids_WT.to(device, non_blocking=True),
            self.mask_WT.to(device, non_blocking=True),
            self.token_index_BM.to(device, non_blocking=True),
            self.token_mask_BM.to(device, non_blocking=True),
        )


def stack_windows(records: Sequence[Sequence[Sequence[int]]], *, pad_token_id: int) -> StackedWindows:
    """Stack the windows of several records.

    Args:
        records: Token ids of each record's windows, special tokens at both ends of each.
        pad_token_id: What fills the ends of short windows.
    """
    windows = [window for record in records for window in record]
    width = max(len(window) for window in windows)
    input_ids_WT = torch.full((len(windows), width), pad_token_id, dtype=torch.long)
    mask_WT = torch.zeros((len(windows), width), dtype=torch.long)
    for row, window in enumerate(windows):
        input_ids_WT[row, : len(window)] = torch.tensor(window)
        mask_WT[row, : len(window)] = 1
    indices, row = [], 0
    for record in records:
        spans = [torch.arange((row + at) * width + 1, (row + at) * width + len(w) - 1) for at, w in enumerate(record)]
        indices.append(torch.cat(spans))
        row += len(record)
    token_index_BM = nn.utils.rnn.pad_sequence(indices, batch_first=True)
    lengths_B = torch.tensor([len(index) for index in indices])
    token_mask_BM = torch.arange(token_index_BM.shape[1]) < lengths_B.unsqueeze(1)
    return StackedWindows(input_ids_WT, mask_WT, token_index_BM, token_mask_BM)


class CodingModel(nn.Module):
    """The encoder (plain, or with LoRA) and the label attention head."""

    def __init__(self, encoder: nn.Module, head: LabelAttention):
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(
        self,
        windows: StackedWindows,
        labels_S: Tensor | None = None,
        *,
        lower_WTH: Tensor | None = None,
        num_lower_layers: int = 0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score labels for each record.

        Args:
            windows: The records' windows.
            labels_S: Labels to score; all when None.
            lower_WTH: Stored output of the frozen lower layers, which are then not run again.
            num_lower_layers: How many layers that output stands for.

        Returns:
            logits [B, S], attention [B, M, S], value [B, M, S]; see LabelAttention.
        """
        if lower_WTH is None:
            hidden_WTH = encode(self.encoder, windows.input_ids_WT, windows.mask_WT)
        else:
            with recall_lower_layers(self.encoder, num_lower_layers) as slot:
                slot.hidden_WTH = lower_WTH
                hidden_WTH = encode(self.encoder, windows.input_ids_WT, windows.mask_WT)
        hidden_BMH = hidden_WTH.flatten(0, 1)[windows.token_index_BM]
        return self.head(hidden_BMH, windows.token_mask_BM, labels_S)  # type: ignore[no-any-return]
