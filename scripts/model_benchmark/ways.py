"""One encoder, one head, and the ways to run them over notes: ours, and how they are usually run.

On a GPU the weights are bfloat16 on every side; ours keeps the head in float32, as a served model does, the others
leave the precision to autocast.

Shapes: N tokens of all notes, M tokens of one, H hidden size, B notes, W windows, T tokens a window, L labels.
"""

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from scripts.model_benchmark.padded import PaddedCodingModel, pad_notes
from scripts.model_benchmark.shapes import PAD, EncoderShape, make_head, random_notes
from scripts.model_benchmark.sorted_batches import SortedBatches
from training.model.coding_model import encode_packed
from training.model.head import LabelAttention, LabelVectors
from training.model.packing import (
    CPU_STACK_TOKENS,
    MAX_TOKENS_A_PASS,
    PackedWindows,
    group_by_tokens,
    pack_windows,
)
from training.model.shortlist import MAX_LABELS_IN_FULL, NUM_SHORTLISTED, Shortlist
from training.model.varlen import reads_flat_rows

__all__ = ["NOTES_A_BATCH", "SIGMA", "Forward", "Notes"]

logger = logging.getLogger(__name__)

NOTES_A_BATCH: Final = 8
SIGMA: Final = 0.9

Notes = Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Forward:
    """An encoder and a head, and the ways to run them."""

    encoder: PreTrainedModel
    fast_encoder: nn.Module
    """As a served model runs it."""
    is_flat: bool
    """Whether it reads flat rows."""
    head: LabelAttention
    vectors: LabelVectors
    shortlist: Shortlist | None
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def make(cls, shape: EncoderShape, *, num_labels: int, device: torch.device, dtype: torch.dtype) -> "Forward":
        """Random weights of a shape."""
        torch.manual_seed(0)
        encoder = shape.make().eval().requires_grad_(requires_grad=False)
        head = make_head(encoder, num_labels=num_labels).to(device).requires_grad_(requires_grad=False)
        for parameter in encoder.parameters():
            # A cast of the module would round the tables of rotary positions too.
            parameter.data = parameter.data.to(dtype)
        encoder.to(device)
        with torch.inference_mode():
            is_flat = reads_flat_rows(encoder)
            # As a served model holds it.
            vectors, shortlist = head.freeze_labels(), None
            if num_labels > MAX_LABELS_IN_FULL:
                sample = pack_windows(random_notes(4, shape=shape, sigma=SIGMA, seed=6), pad_token_id=PAD).to(device)
                shortlist = Shortlist(head, vectors, encode_packed(encoder, sample).float())
        return cls(encoder, _as_served(encoder, device), is_flat, head, vectors, shortlist, device, dtype)

    @property
    def max_stack_tokens(self) -> int | None:
        """As a served model has it."""
        return CPU_STACK_TOKENS if self.device.type == "cpu" else None

    def compiled(self, notes: Notes) -> "Forward | None":
        """The same with its encoder compiled for any shape; None, and a warning in the log, where that fails."""
        encoder = torch.compile(self.fast_encoder, dynamic=True)
        assert isinstance(encoder, nn.Module)
        forward = replace(self, fast_encoder=encoder)
        try:
            forward.packed(notes)
        # A missing compiler, an operation that it does not know: the other ways are still measured.
        except Exception:
            logger.warning("the encoder cannot be compiled", exc_info=True)
            return None
        return forward

    def packs(self, notes: Notes) -> Iterator[PackedWindows]:
        """Notes as ours reads them, some in each pass."""
        lengths = [sum(len(window) - 2 for window in note) for note in notes]
        for group in group_by_tokens(lengths, max_tokens=MAX_TOKENS_A_PASS):
            records = [notes[at] for at in group]
            yield pack_windows(records, pad_token_id=PAD, flat=self.is_flat, max_stack_tokens=self.max_stack_tokens)

    def packed(self, notes: Notes) -> list[Tensor]:
        """Ours, windows of many notes side by side: logits [L] of each, of shortlisted labels where there are many."""
        with torch.inference_mode():
            logits = list[Tensor]()
            for packed in self.packs(notes):
                hidden_NH = encode_packed(self.fast_encoder, packed.to(self.device)).float()
                logits += [self._score(hidden_MH) for hidden_MH in torch.split(hidden_NH, list(packed.lengths))]
            return logits

    def _score(self, hidden_MH: Tensor) -> Tensor:
        vectors = self.vectors
        if self.shortlist is not None:
            vectors = vectors.take(self.shortlist.score(hidden_MH).topk(NUM_SHORTLISTED).indices)
        return self.head.score(hidden_MH, vectors)

    @contextmanager
    def _as_usual(self) -> Iterator[None]:
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            yield

    def one_by_one(self, notes: Notes) -> list[Tensor]:
        """Eager, a note at a time."""
        with self._as_usual():
            logits = list[Tensor]()
            for note in notes:
                input_ids_BWT, mask_BWT, read_BM = (part.to(self.device) for part in pad_notes([note]))
                hidden_WTH = self.encoder(input_ids=input_ids_BWT[0], attention_mask=mask_BWT[0]).last_hidden_state
                hidden_MH = hidden_WTH.flatten(0, 1)[read_BM[0]]
                logits.append(self.head.attend(hidden_MH, [len(hidden_MH)], self.vectors)[0][0])
            return logits

    def padded(self, notes: Notes) -> list[Tensor]:
        """Eager, notes of a batch padded to its longest."""
        with self._as_usual():
            logits, model = list[Tensor](), PaddedCodingModel(self.encoder, self.head)
            for first in range(0, len(notes), NOTES_A_BATCH):
                input_ids_BWT, mask_BWT, read_BM = (
                    part.to(self.device) for part in pad_notes(notes[first : first + NOTES_A_BATCH])
                )
                logits += list(model.logits(input_ids_BWT, mask_BWT, read_BM, self.vectors))
            return logits

    def sorted_batches(self, batches: SortedBatches, notes: Notes) -> list[Tensor]:
        """The encoder by sentence-transformers, windows of all notes sorted by length; then the head as ours runs."""
        with self._as_usual():
            states = batches.encode([window for note in notes for window in note])
            edges = [0, *accumulate(map(len, notes))]
            return [
                self._score(torch.cat([hidden_TH[1:-1] for hidden_TH in states[start:end]]))
                for start, end in pairwise(edges)
            ]


def _as_served(encoder: nn.Module, device: torch.device) -> nn.Module:
    if device.type != "cpu" or importlib.util.find_spec("openvino") is None:
        return encoder
    # Where only what a GPU machine needs is installed, the script runs without it.
    from training.model.openvino_encoder import faster_on_cpu

    return faster_on_cpu(encoder)
