"""Windows of many records side by side, with next to no padding or with none.

Windows of like length are stacked; or all lie in one flat row, where the encoder keeps them apart by their edges (see
``varlen``). It is remembered where each record's tokens lie among them.

Shapes: W windows, T tokens a window, in a flat row one window of T tokens is all of them; E = W + 1 window edges, N
tokens of all records.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import torch
from torch import Tensor

__all__ = [
    "CPU_STACK_TOKENS",
    "MAX_ROW_TOKENS",
    "MAX_STACK_TOKENS",
    "MAX_TOKENS_A_PASS",
    "PackedWindows",
    "Stack",
    "WindowEdges",
    "copy_to",
    "group_by_tokens",
    "pack_windows",
]

MAX_TOKENS_A_PASS: Final = 2**15
"""Hidden states held at once, in tokens; a record of more is encoded alone."""
MAX_ROW_TOKENS: Final = MAX_TOKENS_A_PASS * 9 // 8
"""Of a flat row: with room for special tokens, which a pass does not count and which would make a second, small row."""
# On two cores a pass over fewer tokens than the first costs more a token; over more than the second, no less.
_MIN_STACK_TOKENS: Final = 2048
MAX_STACK_TOKENS: Final = 8192
CPU_STACK_TOKENS: Final = 2048
"""Where nothing is kept for a backward pass: as fast, and every stack's temporary memory is a quarter."""
# A window this much shorter than the longest of its stack opens a new one.
_MIN_SHARE_OF_WIDTH: Final = 0.9


def copy_to(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to a GPU without waiting for it."""
    # Only a copy from pinned memory runs beside what the GPU does.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@dataclass(frozen=True, slots=True)
class WindowEdges:
    """What keeps the windows of a flat row apart."""

    cumulative_E: Tensor
    """Where each window begins, and where the last ends; int32."""
    position_ids_WT: Tensor
    """Position of each token in its own window [1, T]."""
    max_window_tokens: int

    def to(self, device: torch.device) -> "WindowEdges":
        """Copy to a device."""
        return WindowEdges(
            copy_to(self.cumulative_E, device), copy_to(self.position_ids_WT, device), self.max_window_tokens
        )

    def arguments(self, *, first_position: int) -> dict[str, Any]:
        """As transformers names them for every attention over flat rows; an encoder counts from its first position."""
        return {
            "position_ids": self.position_ids_WT + first_position,
            "cu_seq_lens_q": self.cumulative_E,
            "cu_seq_lens_k": self.cumulative_E,
            "max_length_q": self.max_window_tokens,
            "max_length_k": self.max_window_tokens,
        }


@dataclass(frozen=True, slots=True)
class Stack:
    """Windows that the encoder reads together: of nearly one length and padded to the longest, or in one flat row."""

    input_ids_WT: Tensor
    mask_WT: Tensor | None
    """None in a flat row: there is no padding."""
    windows: tuple[int, ...]
    """Which window each one is, counted through all records."""
    starts: tuple[int, ...]
    """Where each window begins, in the stack laid flat."""
    edges: WindowEdges | None = None
    """Of a flat row."""

    def to(self, device: torch.device) -> "Stack":
        """Copy to a device."""
        mask_WT = None if self.mask_WT is None else copy_to(self.mask_WT, device)
        edges = None if self.edges is None else self.edges.to(device)
        return Stack(copy_to(self.input_ids_WT, device), mask_WT, self.windows, self.starts, edges)


@dataclass(frozen=True, slots=True)
class PackedWindows:
    """The windows of several records, and where each record's tokens lie among them."""

    stacks: tuple[Stack, ...]
    token_index_N: Tensor
    """Position of every token, record after record, in the stacks laid flat one after the other; special tokens
    are left out."""
    lengths: tuple[int, ...]
    """Tokens of each record; they sum to N."""

    @property
    def num_computed_tokens(self) -> int:
        """Tokens that the encoder reads, special ones and padding included."""
        return sum(stack.input_ids_WT.numel() for stack in self.stacks)

    def to(self, device: torch.device) -> "PackedWindows":
        """Copy to a device."""
        stacks = tuple(stack.to(device) for stack in self.stacks)
        return PackedWindows(stacks, copy_to(self.token_index_N, device), self.lengths)


def pack_windows(
    records: Sequence[Sequence[Sequence[int]]],
    *,
    pad_token_id: int,
    flat: bool = False,
    max_stack_tokens: int | None = None,
) -> PackedWindows:
    """Pack the windows of several records.

    Args:
        records: Token ids of each record's windows, special tokens at both ends of each.
        pad_token_id: What fills the ends of the shorter windows of a stack.
        flat: In flat rows instead, for an encoder that ``varlen.reads_flat_rows``.
        max_stack_tokens: Tokens that a stack or a flat row may hold, padding included; a longer window is one of its
            own. MAX_STACK_TOKENS, and in flat rows MAX_ROW_TOKENS, when None.
    """
    windows = [window for record in records for window in record]
    lengths = [len(window) for window in windows]
    if flat:
        groups = group_by_tokens(lengths, max_tokens=max_stack_tokens or MAX_ROW_TOKENS)
        stacks = tuple(_flat_row(rows, windows) for rows in groups)
    else:
        alike = _like_lengths(lengths, max_stack_tokens=max_stack_tokens or MAX_STACK_TOKENS)
        stacks = tuple(_stack(rows, windows, pad_token_id=pad_token_id) for rows in alike)
    starts, before = [0] * len(windows), 0
    for stack in stacks:
        for window, start in zip(stack.windows, stack.starts, strict=True):
            starts[window] = before + start
        before += stack.input_ids_WT.numel()
    spans = [torch.arange(at + 1, at + length - 1) for at, length in zip(starts, lengths, strict=True)]
    tokens = tuple(sum(len(window) - 2 for window in record) for record in records)
    return PackedWindows(stacks, torch.cat(spans) if spans else torch.zeros(0, dtype=torch.long), tokens)


def _stack(rows: Sequence[int], windows: Sequence[Sequence[int]], *, pad_token_id: int) -> Stack:
    """Windows one under the other, the longest first."""
    width = len(windows[rows[0]])
    input_ids_WT = torch.full((len(rows), width), pad_token_id, dtype=torch.long)
    mask_WT = torch.zeros((len(rows), width), dtype=torch.long)
    for at, row in enumerate(rows):
        input_ids_WT[at, : len(windows[row])] = torch.tensor(windows[row])
        mask_WT[at, : len(windows[row])] = 1
    return Stack(input_ids_WT, mask_WT, tuple(rows), tuple(range(0, len(rows) * width, width)))


def _flat_row(rows: Sequence[int], windows: Sequence[Sequence[int]]) -> Stack:
    """Windows one after the other."""
    lengths = [len(windows[row]) for row in rows]
    edges = [0, *accumulate(lengths)]
    input_ids_WT = torch.tensor([[token for row in rows for token in windows[row]]])
    position_ids_WT = torch.cat([torch.arange(length) for length in lengths])[None]
    kept_apart = WindowEdges(torch.tensor(edges, dtype=torch.int32), position_ids_WT, max(lengths))
    return Stack(input_ids_WT, None, tuple(rows), tuple(edges[:-1]), kept_apart)


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


def group_by_tokens(lengths: Iterable[int], *, max_tokens: int) -> Iterator[list[int]]:
    """Part records, in order, into groups that are encoded together.

    Args:
        lengths: Tokens of each record; one more is asked for than the group that is yielded holds.
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
