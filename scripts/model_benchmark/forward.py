"""Forward: our packed pass over many notes beside the usual ways, by size of the label space, by length of a note."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import Final

import numpy as np
import torch
from torch import Tensor

from scripts.benchmark_results import Row
from scripts.model_benchmark.padded import pad_notes
from scripts.model_benchmark.shapes import EncoderShape, random_notes
from scripts.model_benchmark.sorted_batches import BATCH_WINDOWS, SortedBatches, is_installed
from scripts.model_benchmark.timing import peak_gigabytes, seconds, side_by_side
from scripts.model_benchmark.ways import NOTES_A_BATCH, SIGMA, Forward, Notes
from scripts.model_benchmark.work import work_rows
from training.model.packing import Stack

__all__ = ["forward_rows", "label_space_rows", "length_rows"]

_LENGTHS: Final = (512, 1024, 2048, 4096, 8192)

Way = Callable[[Notes], list[Tensor]]


def forward_rows(
    shape: EncoderShape,
    *,
    num_labels: int,
    num_notes: int,
    compiles: bool,
    rounds: int,
    ceiling: float,
    device: torch.device,
    dtype: torch.dtype,
) -> list[Row]:
    """Tokens and notes a second beside each peer, share of the ceiling, padding, and how far answers differ."""
    forward = Forward.make(shape, num_labels=num_labels, device=device, dtype=dtype)
    notes = random_notes(num_notes, shape=shape, sigma=SIGMA, seed=1)
    variants, peers = _variants(forward, notes, compiles=compiles), _peers(forward)
    ways = {"packed": forward.packed, **variants, **peers}
    taken = side_by_side(
        {name: partial(seconds, partial(way, notes), device) for name, way in ways.items()}, rounds=rounds
    )
    num_tokens = sum(len(window) for note in notes for window in note)
    flop = sum(
        len(window) * shape.flop_a_token(forward.encoder, window_tokens=len(window))
        for note in notes
        for window in note
    )
    prefix = f"{shape.name} forward"
    rows = [
        Row(f"{prefix} {unit}", count / taken["packed"], f"{unit}/s", peer, count / taken[peer])
        for peer in peers
        for unit, count in (("notes", num_notes), ("tokens", num_tokens))
    ]
    rows += [
        Row(f"{prefix} notes, {name}", num_notes / taken[name], "notes/s", "packed", num_notes / taken["packed"])
        for name in variants
    ]
    rows.append(Row(f"{prefix} share of the matmul ceiling", flop / taken["packed"] / ceiling, "share"))
    stacks = [stack for packed in forward.packs(notes) for stack in packed.stacks]
    rows += work_rows(prefix, notes, stacks=stacks, shape=shape, encoder=forward.encoder, itemsize=dtype.itemsize)
    rows.append(_padding_row(prefix, notes, stacks, num_tokens=num_tokens))
    rows += _alone_rows(prefix, forward, notes, rounds=rounds)
    ours, theirs = torch.stack(forward.packed(notes)), torch.stack(forward.one_by_one(notes))
    rows.append(Row(f"{prefix} greatest difference of a logit", float((ours - theirs).abs().max()), "logit"))
    return rows


def _variants(forward: Forward, notes: Notes, *, compiles: bool) -> dict[str, Way]:
    """Other ways to run ours."""
    variants = dict[str, Way]()
    if forward.is_flat:
        variants["in stacks instead of flat rows"] = replace(forward, is_flat=False).packed
    plain = replace(forward, fast_encoder=forward.encoder)
    if forward.fast_encoder is not forward.encoder:
        variants["encoder in PyTorch instead of OpenVINO"] = plain.packed
    if compiles and (compiled := plain.compiled(notes)) is not None:
        variants["encoder compiled by PyTorch"] = compiled.packed
    return variants


def _peers(forward: Forward) -> dict[str, Way]:
    peers: dict[str, Way] = {"one by one": forward.one_by_one, "padded": forward.padded}
    if is_installed():
        name = f"encoder by sentence-transformers, windows sorted by length, batches of {BATCH_WINDOWS}"
        peers[name] = partial(forward.sorted_batches, SortedBatches(forward.encoder, forward.device))
    return peers


def _padding_row(prefix: str, notes: Notes, stacks: Sequence[Stack], *, num_tokens: int) -> Row:
    batches = [pad_notes(notes[first : first + NOTES_A_BATCH])[0] for first in range(0, len(notes), NOTES_A_BATCH)]
    return Row(
        f"{prefix} padding",
        1 - num_tokens / sum(stack.input_ids_WT.numel() for stack in stacks),
        "share of tokens",
        "padded",
        1 - num_tokens / sum(batch.numel() for batch in batches),
    )


def _alone_rows(prefix: str, forward: Forward, notes: Notes, *, rounds: int) -> list[Row]:
    """Median and tail of the time of a note that comes alone."""
    ways = {"ours": forward.packed, "theirs": forward.one_by_one}
    taken = [
        side_by_side(
            {name: partial(seconds, partial(way, [note]), forward.device) for name, way in ways.items()}, rounds=rounds
        )
        for note in notes
    ]
    ours, theirs = (np.array([one[name] for one in taken]) * 1e3 for name in ways)
    return [
        Row(
            f"{prefix} time of a note alone, p{percent}",
            float(np.percentile(ours, percent)),
            "ms",
            "one by one",
            float(np.percentile(theirs, percent)),
        )
        for percent in (50, 99)
    ]


def label_space_rows(
    shape: EncoderShape,
    *,
    label_spaces: tuple[int, ...],
    num_notes: int,
    rounds: int,
    device: torch.device,
    dtype: torch.dtype,
) -> list[Row]:
    """Time a note and peak memory by size of the label space, each beside the smallest."""
    notes = random_notes(num_notes, shape=shape, sigma=SIGMA, seed=2)
    made = {num: Forward.make(shape, num_labels=num, device=device, dtype=dtype) for num in label_spaces}
    run = {str(num): partial(seconds, partial(forward.packed, notes), device) for num, forward in made.items()}
    taken = side_by_side(run, rounds=rounds)
    del made, run
    held = {num: _in_fresh_process(shape, num, num_notes, device, dtype) for num in label_spaces}
    least = label_spaces[0]
    rows = [
        Row(
            f"{shape.name} forward time with {num:,} labels",
            taken[str(num)] / num_notes * 1e3,
            "ms/note",
            f"{least:,} labels",
            taken[str(least)] / num_notes * 1e3,
        )
        for num in label_spaces[1:]
    ]
    rows.append(Row(f"{shape.name} forward peak memory with {least:,} labels", held[least], "GB"))
    return rows + [
        Row(f"{shape.name} forward peak memory with {num:,} labels", held[num], "GB", f"{least:,} labels", held[least])
        for num in label_spaces[1:]
    ]


def _in_fresh_process(
    shape: EncoderShape, num_labels: int, num_notes: int, device: torch.device, dtype: torch.dtype
) -> float:
    """Peak memory of a process that does nothing else, in GB."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(_peak, shape, num_labels, num_notes, device, dtype).result()


def _peak(shape: EncoderShape, num_labels: int, num_notes: int, device: torch.device, dtype: torch.dtype) -> float:
    forward = Forward.make(shape, num_labels=num_labels, device=device, dtype=dtype)
    forward.packed(random_notes(num_notes, shape=shape, sigma=SIGMA, seed=2))
    return peak_gigabytes(device)


def length_rows(
    shape: EncoderShape, *, num_labels: int, rounds: int, device: torch.device, dtype: torch.dtype
) -> list[Row]:
    """How the time of one note grows with its length: the exponent of a power law."""
    forward = Forward.make(shape, num_labels=num_labels, device=device, dtype=dtype)
    notes = random_notes(len(_LENGTHS), shape=shape, sigma=0, seed=3, num_tokens=_LENGTHS)
    run = {
        str(length): partial(seconds, partial(forward.packed, [note]), device)
        for length, note in zip(_LENGTHS, notes, strict=True)
    }
    taken = list(side_by_side(run, rounds=rounds).values())
    slope = np.polyfit(np.log(_LENGTHS), np.log(taken), 1)[0]
    name = f"{shape.name} forward time against note length, {_LENGTHS[0]} to {_LENGTHS[-1]:,} tokens"
    return [Row(name, float(slope), "exponent")]
