"""Third hop of stage 2: rows of token windows become the batch of a training step, in one or several passes.

What a row is, ``dataset`` says; which labels a step scores, ``label_sampler``. Where several processes train, each
gets a share of the records; the labels are those of the whole batch.

Shapes: B records, W windows, T tokens a window, H hidden size, N tokens of all records, S sampled labels, E evidence
entries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from training.label_sampler import LabelSampler
from training.lower_layers import LowerLayers
from training.model.packing import PackedWindows, copy_to, group_by_tokens, pack_windows

__all__ = ["Batch", "Collator", "label_targets"]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one pass of a training step needs."""

    windows: PackedWindows
    lower: tuple[Tensor, ...] | None
    """Stored output of the frozen lower layers for each stack [W, T, H]; None when they are run."""
    labels_S: Tensor
    """Indices of the labels that this step scores."""
    targets_BS: Tensor
    """1.0 where the record has the code."""
    weights_BS: Tensor
    """Weight in the loss; 0 where nothing is known of the code on this record."""
    evidence_column_E: Tensor
    """Which of labels_S each evidence entry speaks of."""
    evidence_EN: Tensor
    """True on the tokens of its record that support the code."""
    num_records_of_step: int
    """Records of the whole batch, over all passes and processes."""

    def to(self, device: torch.device) -> "Batch":
        """Copy to a device."""
        moved: dict[str, Any] = {"windows": self.windows.to(device)}
        if self.lower is not None:
            moved["lower"] = tuple(copy_to(lower_WTH, device) for lower_WTH in self.lower)
        for name, value in ((field.name, getattr(self, field.name)) for field in fields(self)):
            if isinstance(value, Tensor):
                moved[name] = copy_to(value, device)
        return replace(self, **moved)


def label_targets(
    rows: Sequence[Mapping[str, Any]], sampler: LabelSampler, *, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Which labels one step scores, and what is known of them on its records.

    Returns:
        labels [S], targets [B, S] and weights [B, S] as ``Batch`` holds them.
    """
    stated = {label for row in rows for label in (*row["positive"], *row["negative"])}
    labels_S, weights_S = sampler.sample(stated, step=step)
    column = {int(label): at for at, label in enumerate(labels_S)}
    targets_BS = torch.zeros(len(rows), len(labels_S))
    weights_BS = torch.from_numpy(weights_S).repeat(len(rows), 1)
    for at, row in enumerate(rows):
        if not row["complete"]:
            weights_BS[at] = 0.0
        for label in row["unknown"]:
            if label in column:
                weights_BS[at, column[label]] = 0.0
        for label, weight in zip(row["negative"], row["negative_weight"], strict=True):
            weights_BS[at, column[label]] = weight
        for label, weight in zip(row["positive"], row["positive_weight"], strict=True):
            targets_BS[at, column[label]] = 1.0
            weights_BS[at, column[label]] = weight
    return torch.from_numpy(labels_S), targets_BS, weights_BS


class Collator:
    """Third hop: rows become the passes of a step."""

    def __init__(
        self, sampler: LabelSampler, *, pad_token_id: int, lower_layers: LowerLayers | None, flat: bool = False
    ):
        """Set up.

        Args:
            sampler: Chooses the labels of each step.
            pad_token_id: The tokenizer's.
            lower_layers: Stored output of the frozen lower layers, when there is any.
            flat: Lay windows in flat rows, for an encoder that ``varlen.reads_flat_rows``.
        """
        self._sampler = sampler
        self._pad_token_id = pad_token_id
        self._lower_layers = lower_layers
        self._flat = flat

    def __call__(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        step: int,
        max_tokens: int,
        process_index: int = 0,
        num_processes: int = 1,
    ) -> list[Batch]:
        """Make the passes of one step.

        Args:
            rows: The whole batch.
            step: Global step; it chooses the sampled labels.
            max_tokens: Tokens that a pass may hold; a longer record makes a pass of its own.
            process_index: Which share of the rows to take.
            num_processes: Number of shares.

        Returns:
            At least one pass; a share of no rows is one pass of no records.
        """
        labels_S, targets_BS, weights_BS = label_targets(rows, self._sampler, step=step)
        column = {label: at for at, label in enumerate(labels_S.tolist())}
        own = range(process_index, len(rows), num_processes)
        lengths = [sum(map(len, rows[at]["input_ids"])) for at in own]
        passes = []
        for group in group_by_tokens(lengths, max_tokens=max_tokens) if own else [[]]:
            chosen = [own[at] for at in group]
            windows, lower, column_E, evidence_EN = self._read([rows[at] for at in chosen], column)
            passes.append(
                Batch(
                    windows=windows,
                    lower=lower,
                    labels_S=labels_S,
                    targets_BS=targets_BS[chosen],
                    weights_BS=weights_BS[chosen],
                    evidence_column_E=column_E,
                    evidence_EN=evidence_EN,
                    num_records_of_step=len(rows),
                )
            )
        return passes

    def _read(
        self, rows: Sequence[Mapping[str, Any]], column: Mapping[int, int]
    ) -> tuple[PackedWindows, tuple[Tensor, ...] | None, Tensor, Tensor]:
        """What some rows say: windows, stored lower layers, and evidence as ``Batch`` holds it."""
        windows = pack_windows([row["input_ids"] for row in rows], pad_token_id=self._pad_token_id, flat=self._flat)
        entries = [
            (at, column[label], tokens)
            for at, row in enumerate(rows)
            for label, tokens in zip(row["evidence_label"], row["evidence_tokens"], strict=True)
        ]
        starts = [0, *accumulate(windows.lengths)]
        evidence_EN = torch.zeros(len(entries), starts[-1], dtype=torch.bool)
        for entry, (at, _, tokens) in enumerate(entries):
            evidence_EN[entry, torch.tensor(tokens) + starts[at]] = True
        lower = None
        if self._lower_layers is not None:
            lower = self._lower_layers.recall([row["row"] for row in rows], stacks=windows.stacks)
        return windows, lower, torch.tensor([column for _, column, _ in entries], dtype=torch.long), evidence_EN
