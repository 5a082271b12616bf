"""Encoder and label attention as one module: from packed windows to logits.

Windows of like length are stacked side by side, so that next to nothing is padding, and the head reads
each record's tokens in one flat row: a long record costs its neighbours nothing.

Shapes: W windows, T tokens a window, H hidden size, B records, N tokens of all records, S scored labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from training.model.encoder import encode, recall_lower_layers
from training.model.head import LabelAttention

__all__ = ["CodingModel", "PackedWindows", "Stack", "encode_packed", "pack_windows"]

# On two cores a pass over fewer tokens than the first costs more a token; over more than the second, no less.
_MIN_STACK_TOKENS: Final = 2048
_MAX_STACK_TOKENS: Final = 8192
# A window this much shorter than the longest of its stack opens a new one.
_MIN_SHARE_OF_WIDTH: Final = 0.9


@dataclass(frozen=True, slots=True)
class Stack:
    """Windows of nearly one length, padded to the longest."""

    input_ids_WT: Tensor
    mask_WT: Tensor
    windows: tuple[int, ...]
    """Which window each row is, counted through all records."""

    def to(self, device: torch.device) -> "Stack":
        """Copy to a device."""
        ids_WT, mask_WT = (tensor.to(device, non_blocking=True) for tensor in (self.input_ids_WT, self.mask_WT))
        return Stack(ids_WT, mask_WT, self.windows)


@dataclass(frozen=True, slots=True)
class PackedWindows:
    """The windows of several records, and where each record's tokens lie among them."""

    stacks: tuple[Stack, ...]
    token_index_N: Tensor
    """Position of every token, record after record, in the stacks laid flat one after the other; special tokens
    are left out."""
    lengths: tuple[int, ...]
    """Tokens of each record; they sum to N."""

    def to(self, device: torch.device) -> "PackedWindows":
        """Copy to a device."""
        stacks = tuple(stack.to(device) for stack in self.stacks)
        return PackedWindows(stacks, self.token_index_N.to(device, non_blocking=True), self.lengths)


def pack_windows(records: Sequence[Sequence[Sequence[int]]], *, pad_token_id: int) -> PackedWindows:
    """Pack the windows of several records.

    Args:
        records: Token ids of each record's windows, special tokens at both ends of each.
        pad_token_id: What fills the ends of the shorter windows of a stack.
    """
    windows = [window for record in records for window in record]
    starts = [0] * len(windows)
    stacks, flat = list[Stack](), 0
    for rows in _like_lengths([len(window) for window in windows]):
        width = len(windows[rows[0]])
        input_ids_WT = torch.full((len(rows), width), pad_token_id, dtype=torch.long)
        mask_WT = torch.zeros((len(rows), width), dtype=torch.long)
        for at, row in enumerate(rows):
            input_ids_WT[at, : len(windows[row])] = torch.tensor(windows[row])
            mask_WT[at, : len(windows[row])] = 1
            starts[row] = flat + at * width
        stacks.append(Stack(input_ids_WT, mask_WT, tuple(rows)))
        flat += len(rows) * width
    spans = [torch.arange(at + 1, at + len(window) - 1) for at, window in zip(starts, windows, strict=True)]
    lengths = tuple(sum(len(window) - 2 for window in record) for record in records)
    return PackedWindows(tuple(stacks), torch.cat(spans) if spans else torch.zeros(0, dtype=torch.long), lengths)


def _like_lengths(lengths: Sequence[int]) -> list[list[int]]:
    """Group windows of like length, the longest first; a stable order, so that the same windows pack the same way."""
    groups, width, room = list[list[int]](), 0, 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        is_full = room + width > _MAX_STACK_TOKENS
        if not groups or is_full or (lengths[row] < _MIN_SHARE_OF_WIDTH * width and room >= _MIN_STACK_TOKENS):
            groups.append([])
            width, room = lengths[row], 0
        groups[-1].append(row)
        room += width
    return groups


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
            hidden_WTH = encode(encoder, stack.input_ids_WT, stack.mask_WT)
        else:
            with recall_lower_layers(encoder, num_lower_layers) as slot:
                slot.hidden_WTH = lower[at]
                hidden_WTH = encode(encoder, stack.input_ids_WT, stack.mask_WT)
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
