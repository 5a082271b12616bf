"""Windows of many records side by side, with next to no padding.

Windows of like length are stacked, and it is remembered where each record's tokens lie among them.

Shapes: W windows, T tokens a window, N tokens of all records.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

__all__ = [
    "CPU_STACK_TOKENS",
    "MAX_STACK_TOKENS",
    "MAX_TOKENS_A_PASS",
    "PackedWindows",
    "Stack",
    "group_by_tokens",
    "pack_windows",
]

MAX_TOKENS_A_PASS: Final = 2**15
"""Hidden states held at once, in tokens; a record of more is encoded alone."""
# On two cores a pass over fewer tokens than the first costs more a token; over more than the second, no less.
_MIN_STACK_TOKENS: Final = 2048
MAX_STACK_TOKENS: Final = 8192
CPU_STACK_TOKENS: Final = 2048
"""Where nothing is kept for a backward pass: as fast, and every stack's temporary memory is a quarter."""
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


def pack_windows(
    records: Sequence[Sequence[Sequence[int]]], *, pad_token_id: int, max_stack_tokens: int = MAX_STACK_TOKENS
) -> PackedWindows:
    """Pack the windows of several records.

    Args:
        records: Token ids of each record's windows, special tokens at both ends of each.
        pad_token_id: What fills the ends of the shorter windows of a stack.
        max_stack_tokens: Tokens that a stack may hold, padding included; a longer window is one of its own.
    """
    windows = [window for record in records for window in record]
    starts = [0] * len(windows)
    stacks, flat = list[Stack](), 0
    for rows in _like_lengths([len(window) for window in windows], max_stack_tokens=max_stack_tokens):
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


def _like_lengths(lengths: Sequence[int], *, max_stack_tokens: int) -> list[list[int]]:
    """Group windows of like length, the longest first; a stable order, so that the same windows pack the same way."""
    groups, width, room = list[list[int]](), 0, 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        is_full = room + width > max_stack_tokens
        if not groups or is_full or (lengths[row] < _MIN_SHARE_OF_WIDTH * width and room >= _MIN_STACK_TOKENS):
            groups.append([])
            width, room = lengths[row], 0
        groups[-1].append(row)
        room += width
    return groups


def group_by_tokens(lengths: Sequence[int], *, max_tokens: int) -> Iterator[list[int]]:
    """Part records, in order, into groups that are encoded together.

    Args:
        lengths: Tokens of each record.
        max_tokens: Tokens that a group may hold; a longer record makes a group of its own.
    """
    group, room = list[int](), max_tokens
    for record, length in enumerate(lengths):
        if group and length > room:
            yield group
            group, room = [], max_tokens
        group.append(record)
        room -= length
    if group:
        yield group
