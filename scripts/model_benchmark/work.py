"""What the ways to run an encoder compute and move, counted, not measured.

A pass is one call of the encoder over windows of one width; what it moves at least are the weights of its matrices,
read once, and the input and output of each for every token, padding included.

Shapes: W windows, T tokens a window.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from scripts.benchmark_results import Row
from scripts.model_benchmark.padded import pad_notes
from scripts.model_benchmark.shapes import EncoderShape
from scripts.model_benchmark.ways import NOTES_A_BATCH
from training.model.packing import Stack

__all__ = ["work_rows"]

Pass = Sequence[tuple[int, int]]
"""W and T of what one call reads; a flat row is several of one window."""


@dataclass(frozen=True, slots=True)
class _Work:
    flop: float
    num_bytes: float


def _work(passes: Iterable[Pass], shape: EncoderShape, encoder: PreTrainedModel, *, itemsize: int) -> _Work:
    matrices = [module for module in encoder.modules() if isinstance(module, torch.nn.Linear)]
    weights = sum(matrix.weight.numel() for matrix in matrices)
    channels = sum(matrix.in_features + matrix.out_features for matrix in matrices)
    flop = num_bytes = 0.0
    for one in passes:
        flop += sum(num * width * shape.flop_a_token(encoder, window_tokens=width) for num, width in one)
        num_bytes += itemsize * (weights + channels * sum(num * width for num, width in one))
    return _Work(flop, num_bytes)


def _of_stack(stack: Stack) -> Pass:
    if stack.edges is None:
        num, width = stack.input_ids_WT.shape
        return [(num, width)]
    return [(1, length) for length in stack.edges.cumulative_E.diff().tolist()]


def work_rows(
    prefix: str,
    notes: Sequence[Sequence[Sequence[int]]],
    *,
    stacks: Sequence[Stack],
    shape: EncoderShape,
    encoder: PreTrainedModel,
    itemsize: int,
) -> list[Row]:
    """FLOP and least traffic of a note as ours packs it, beside one by one and padded.

    Args:
        prefix: Of the rows' names.
        notes: All notes.
        stacks: The same, as ours reads them.
        shape: Of the encoder.
        encoder: Before LoRA.
        itemsize: Bytes of a number.
    """
    alone: list[Pass] = [[(len(note), max(map(len, note)))] for note in notes]
    batches = [pad_notes(notes[at : at + NOTES_A_BATCH])[0].shape for at in range(0, len(notes), NOTES_A_BATCH)]
    padded: list[Pass] = [[(num * windows, width)] for num, windows, width in batches]
    ours = _work(map(_of_stack, stacks), shape, encoder, itemsize=itemsize)
    rows = []
    for peer, passes in (("one by one", alone), ("padded", padded)):
        theirs, a_note = _work(passes, shape, encoder, itemsize=itemsize), 1 / len(notes)
        rows += [
            Row(f"{prefix} arithmetic", ours.flop * a_note / 1e9, "GFLOP/note", peer, theirs.flop * a_note / 1e9),
            Row(
                f"{prefix} least traffic",
                ours.num_bytes * a_note / 1e6,
                "MB/note",
                peer,
                theirs.num_bytes * a_note / 1e6,
            ),
        ]
    return rows
