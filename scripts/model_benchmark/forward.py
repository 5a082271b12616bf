"""Forward: our packed pass over many notes, beside one note at a time and beside padded batches.

Shapes: N tokens of all notes, M tokens of one, H hidden size, B notes, L labels.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from scripts.benchmark_results import Row
from scripts.model_benchmark.padded import PaddedCodingModel, pad_notes
from scripts.model_benchmark.shapes import PAD, EncoderShape, make_head, random_notes
from scripts.model_benchmark.timing import seconds, side_by_side
from training.model.coding_model import encode_packed
from training.model.head import LabelAttention, LabelVectors
from training.model.packing import CPU_STACK_TOKENS, MAX_STACK_TOKENS, MAX_TOKENS_A_PASS, group_by_tokens, pack_windows
from training.model.shortlist import MAX_LABELS_IN_FULL, NUM_SHORTLISTED, Shortlist

__all__ = ["forward_rows", "label_space_rows", "length_rows"]

_NOTES_A_BATCH: Final = 8
_SIGMA: Final = 0.9
_LABEL_SPACES: Final = (2_000, 20_000, 80_000)
_LENGTHS: Final = (512, 1024, 2048, 4096, 8192)

Notes = Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Forward:
    """An encoder and a head, and three ways to run them."""

    encoder: nn.Module
    fast_encoder: nn.Module
    """As a served model runs it."""
    head: LabelAttention
    vectors: LabelVectors
    shortlist: Shortlist | None
    device: torch.device
    dtype: torch.dtype

    @property
    def max_stack_tokens(self) -> int:
        """As a served model has it."""
        return CPU_STACK_TOKENS if self.device.type == "cpu" else MAX_STACK_TOKENS

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            yield

    def packed(self, notes: Notes) -> list[Tensor]:
        """Ours, windows of many notes side by side: logits [L] of each, of shortlisted labels where there are many."""
        with self._inference():
            logits = list[Tensor]()
            lengths = [sum(len(window) - 2 for window in note) for note in notes]
            for group in group_by_tokens(lengths, max_tokens=MAX_TOKENS_A_PASS):
                packed = pack_windows(
                    [notes[at] for at in group], pad_token_id=PAD, max_stack_tokens=self.max_stack_tokens
                )
                packed = packed.to(self.device)
                parts = torch.split(encode_packed(self.fast_encoder, packed), list(packed.lengths))
                logits += [self._score(hidden_MH) for hidden_MH in parts]
            return logits

    def _score(self, hidden_MH: Tensor) -> Tensor:
        vectors = self.vectors
        if self.shortlist is not None:
            vectors = vectors.take(self.shortlist.score(hidden_MH).topk(NUM_SHORTLISTED).indices)
        return self.head.score(hidden_MH, vectors)

    def one_by_one(self, notes: Notes) -> list[Tensor]:
        """Eager, a note at a time."""
        with self._inference():
            logits = list[Tensor]()
            for note in notes:
                input_ids_BWT, mask_BWT, read_BM = (part.to(self.device) for part in pad_notes([note]))
                hidden_WTH = self.encoder(input_ids=input_ids_BWT[0], attention_mask=mask_BWT[0]).last_hidden_state
                hidden_MH = hidden_WTH.flatten(0, 1)[read_BM[0]]
                logits.append(self.head.attend(hidden_MH, [len(hidden_MH)], self.vectors)[0][0])
            return logits

    def padded(self, notes: Notes) -> list[Tensor]:
        """Eager, notes of a batch padded to its longest."""
        with self._inference():
            logits, model = list[Tensor](), PaddedCodingModel(self.encoder, self.head)
            for first in range(0, len(notes), _NOTES_A_BATCH):
                input_ids_BWT, mask_BWT, read_BM = (
                    part.to(self.device) for part in pad_notes(notes[first : first + _NOTES_A_BATCH])
                )
                logits += list(model.logits(input_ids_BWT, mask_BWT, read_BM, None))
            return logits


def _as_served(encoder: nn.Module, device: torch.device) -> nn.Module:
    if device.type != "cpu" or importlib.util.find_spec("openvino") is None:
        return encoder
    # Where only what a GPU machine needs is installed, the script runs without it.
    from training.model.openvino_encoder import faster_on_cpu

    return faster_on_cpu(encoder)


def _make(shape: EncoderShape, *, num_labels: int, device: torch.device, dtype: torch.dtype) -> Forward:
    torch.manual_seed(0)
    encoder = shape.make().to(device).eval().requires_grad_(requires_grad=False)
    head = make_head(encoder, num_labels=num_labels).to(device).requires_grad_(requires_grad=False)
    with torch.inference_mode():
        vectors, shortlist = head.label_vectors(), None
        if num_labels > MAX_LABELS_IN_FULL:
            sample = pack_windows(random_notes(4, shape=shape, sigma=_SIGMA, seed=6), pad_token_id=PAD).to(device)
            shortlist = Shortlist(head, vectors, encode_packed(encoder, sample))
    return Forward(encoder, _as_served(encoder, device), head, vectors, shortlist, device, dtype)


def forward_rows(
    shape: EncoderShape, *, num_notes: int, rounds: int, ceiling: float, device: torch.device, dtype: torch.dtype
) -> list[Row]:
    """Tokens and notes a second beside both peers, share of the ceiling, padding, and how far answers differ."""
    forward = _make(shape, num_labels=_LABEL_SPACES[0], device=device, dtype=dtype)
    notes = random_notes(num_notes, shape=shape, sigma=_SIGMA, seed=1)
    ways = {"packed": forward.packed, "one by one": forward.one_by_one, "padded": forward.padded}
    run = {name: partial(seconds, partial(way, notes), device) for name, way in ways.items()}
    taken = side_by_side(run, rounds=rounds)
    num_tokens = sum(len(window) for note in notes for window in note)
    flop = sum(
        len(window) * shape.flop_a_token(forward.encoder, window_tokens=len(window))
        for note in notes
        for window in note
    )
    prefix = f"{shape.name} forward"
    rows = [
        Row(f"{prefix} {unit}", count / taken["packed"], f"{unit}/s", peer, count / taken[peer])
        for peer in ("one by one", "padded")
        for unit, count in (("notes", num_notes), ("tokens", num_tokens))
    ]
    rows.append(Row(f"{prefix} share of the matmul ceiling", flop / taken["packed"] / ceiling, "share"))
    batches = [pad_notes(notes[first : first + _NOTES_A_BATCH])[0] for first in range(0, num_notes, _NOTES_A_BATCH)]
    packed = pack_windows(notes, pad_token_id=PAD)
    rows.append(
        Row(
            f"{prefix} padding",
            1 - num_tokens / sum(stack.input_ids_WT.numel() for stack in packed.stacks),
            "share of tokens",
            "padded",
            1 - num_tokens / sum(batch.numel() for batch in batches),
        )
    )
    alone = {
        name: np.array([seconds(partial(ways[name], [note]), device) for note in notes]) * 1e3
        for name in ("packed", "one by one")
    }
    rows += [
        Row(
            f"{prefix} time of a note alone, p{percent}",
            float(np.percentile(alone["packed"], percent)),
            "ms",
            "one by one",
            float(np.percentile(alone["one by one"], percent)),
        )
        for percent in (50, 99)
    ]
    ours, theirs = torch.stack(forward.packed(notes)), torch.stack(forward.one_by_one(notes))
    rows.append(Row(f"{prefix} greatest difference of a logit", float((ours - theirs).abs().max()), "logit"))
    return rows


def label_space_rows(
    shape: EncoderShape, *, num_notes: int, rounds: int, device: torch.device, dtype: torch.dtype
) -> list[Row]:
    """Notes a second by size of the label space, beside the smallest."""
    notes = random_notes(num_notes, shape=shape, sigma=_SIGMA, seed=2)
    made = {num: _make(shape, num_labels=num, device=device, dtype=dtype) for num in _LABEL_SPACES}
    run = {str(num): partial(seconds, partial(forward.packed, notes), device) for num, forward in made.items()}
    taken = side_by_side(run, rounds=rounds)
    least = taken[str(_LABEL_SPACES[0])]
    return [
        Row(
            f"{shape.name} forward time with {num:,} labels",
            taken[str(num)] / num_notes * 1e3,
            "ms/note",
            f"{_LABEL_SPACES[0]:,} labels",
            least / num_notes * 1e3,
        )
        for num in _LABEL_SPACES[1:]
    ]


def length_rows(shape: EncoderShape, *, rounds: int, device: torch.device, dtype: torch.dtype) -> list[Row]:
    """How the time of one note grows with its length: the exponent of a power law."""
    forward = _make(shape, num_labels=_LABEL_SPACES[0], device=device, dtype=dtype)
    notes = random_notes(len(_LENGTHS), shape=shape, sigma=0, seed=3, num_tokens=_LENGTHS)
    run = {
        str(length): partial(seconds, partial(forward.packed, [note]), device)
        for length, note in zip(_LENGTHS, notes, strict=True)
    }
    taken = list(side_by_side(run, rounds=rounds).values())
    slope = np.polyfit(np.log(_LENGTHS), np.log(taken), 1)[0]
    name = f"{shape.name} forward time against note length, {_LENGTHS[0]} to {_LENGTHS[-1]:,} tokens"
    return [Row(name, float(slope), "exponent")]
