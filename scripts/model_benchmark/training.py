"""Training: our packed step, with and without the stored prefix, beside transformers.Trainer on padded notes.

Same LoRA placement, head, labels, loss, precision and order of notes; attention drops nothing on either side. The time
is that of whole steps, collation included, without the first.
"""

import copy
import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from scripts.benchmark_results import RESULTS, Row
from scripts.model_benchmark.padded import PaddedCodingModel
from scripts.model_benchmark.padded_trainer import train_padded
from scripts.model_benchmark.shapes import PAD, EncoderShape, make_head, random_notes
from scripts.model_benchmark.timing import now, side_by_side
from training.batches import Collator
from training.config import TrainConfig, load_config
from training.dropout import drop_in_top_layers
from training.label_sampler import LabelSampler
from training.lower_layers import LowerLayers
from training.model.coding_model import CodingModel
from training.model.encoder import add_lora
from training.model.varlen import reads_flat_rows
from training.optimisers import Optimisers
from training.processes import make_accelerator, release_model
from training.step import train_step

__all__ = ["training_rows"]

logger = logging.getLogger(__name__)

_BATCH: Final = 8
_SIGMA: Final = 0.9
_CODES_A_NOTE: Final = 8
_LABELS_A_CATEGORY: Final = 4
"""A label of a version trained on CodiEsp has 3.1 siblings."""
_MAX_TOKENS_A_PASS: Final = 2**17
"""One pass a step, as the peer has."""


def _rows(notes: Sequence[Sequence[Sequence[int]]], *, num_labels: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(4)
    nothing: dict[str, Any] = {name: [] for name in ("negative", "negative_weight", "unknown")}
    nothing |= {"evidence_label": [], "evidence_tokens": []}
    rows = []
    for at, windows in enumerate(notes):
        positive = torch.randperm(num_labels, generator=generator)[:_CODES_A_NOTE].tolist()
        known = {"complete": True, "positive": positive, "positive_weight": [1.0] * _CODES_A_NOTE}
        rows.append({"row": at, "input_ids": windows} | known | nothing)
    return rows


def _sampler(config: TrainConfig, *, num_labels: int) -> LabelSampler:
    def siblings(label: int) -> list[int]:
        first = label - label % _LABELS_A_CATEGORY
        return [other for other in range(first, min(first + _LABELS_A_CATEGORY, num_labels)) if other != label]

    every = [siblings(label) for label in range(num_labels)]
    return LabelSampler(every, num_sampled=config.head.num_sampled_labels, seed=0)


class _Side:
    """One model with LoRA, ready to be trained by us."""

    def __init__(self, encoder: nn.Module, shape: EncoderShape, *, num_labels: int, device: torch.device):
        self.device = device
        self.head = make_head(encoder, num_labels=num_labels)
        self.model = CodingModel(encoder, self.head).to(device)
        drop_in_top_layers(self.model.encoder, num_top_layers=shape.num_lora_layers)

    def train(
        self,
        rows: list[dict[str, Any]],
        *,
        sampler: LabelSampler,
        config: TrainConfig,
        lower_layers: LowerLayers | None = None,
        compiled: bool = False,
    ) -> float:
        """Seconds of all steps but the first."""
        accelerator = make_accelerator(config.optimisation.precision, cpu=self.device.type == "cpu")
        num_steps, ends = len(rows) // _BATCH, []
        optimisers = Optimisers(self.model, config.optimisation, total_steps=num_steps, accelerator=accelerator)
        prepared = accelerator.prepare_model(self.model.train(), evaluation_mode=True)
        with accelerator.autocast():
            flat = reads_flat_rows(self.model.encoder)
        collator = Collator(sampler, pad_token_id=PAD, lower_layers=lower_layers, flat=flat)
        plain = self.model.encoder
        if compiled:
            self.model.encoder = torch.compile(plain, dynamic=True)  # type: ignore[assignment]
        try:
            for step in range(num_steps):
                batch = rows[step * _BATCH : (step + 1) * _BATCH]
                passes = collator(batch, step=step, max_tokens=_MAX_TOKENS_A_PASS)
                train_step(prepared, passes, optimisers=optimisers, accelerator=accelerator, config=config)
                ends.append(now(self.device))
        finally:
            self.model.encoder = plain
            release_model(prepared, accelerator)
            accelerator.free_memory()
        return ends[-1] - ends[0]


def _stored(side: _Side, notes: Sequence[Sequence[Sequence[int]]], *, num_layers: int, folder: Path) -> LowerLayers:
    return LowerLayers.compute(
        side.model.encoder,
        notes,
        num_layers=num_layers,
        path=folder / "lower.bin",
        weights_sha256="random",
        pad_token_id=PAD,
        precision="fp32",
        autocast=nullcontext,
        progress=lambda _: None,
    )


def training_rows(
    shape: EncoderShape,
    *,
    num_steps: int,
    rounds: int,
    label_spaces: Sequence[int],
    ceiling: float,
    device: torch.device,
    precision: str,
) -> list[Row]:
    """Notes and tokens a second beside the Trainer, what the stored prefix adds, share of the ceiling, label spaces.

    Args:
        shape: Of the encoder.
        num_steps: Measured steps a round.
        rounds: Measured rounds.
        label_spaces: Numbers of labels; the first where nothing else is said, the last beside it.
        ceiling: FLOP/s of the matrix product.
        device: Where to train.
        precision: "fp32" or "bf16".
    """
    base = load_config(RESULTS.parents[1] / "configs" / "train-codiesp.yaml")
    config = base.model_copy(
        update={
            "lora": base.lora.model_copy(update={"num_top_layers": shape.num_lora_layers}),
            "optimisation": base.optimisation.model_copy(update={"precision": precision}),
        }
    )
    notes = random_notes((num_steps + 1) * _BATCH, shape=shape, sigma=_SIGMA, seed=5)
    counted, few, many = notes[_BATCH:], label_spaces[0], label_spaces[-1]
    torch.manual_seed(0)
    plain = shape.make()
    flop = sum(
        len(window) * shape.flop_a_token(plain, window_tokens=len(window)) for note in counted for window in note
    )
    num_layers = int(plain.config.num_hidden_layers)
    num_lower = num_layers - shape.num_lora_layers
    # Forward through every layer, and as much again, for the gradient of the activations, in the layers with LoRA.
    flop *= 1 + shape.num_lora_layers / num_layers
    encoder = add_lora(plain, config.lora, base_name=shape.name).base_model.model
    usual = copy.deepcopy(encoder)
    ours = _Side(encoder, shape, num_labels=few, device=device)
    larger = _Side(copy.deepcopy(usual), shape, num_labels=many, device=device)
    peer = PaddedCodingModel(usual, copy.deepcopy(ours.head)).to(device)
    rows, sampler = _rows(notes, num_labels=few), _sampler(config, num_labels=few)
    candidates: dict[str, Callable[[], float]] = {
        "packed": partial(ours.train, rows, sampler=sampler, config=config),
        "Trainer": partial(
            train_padded, peer, rows, sampler=sampler, config=config, batch_records=_BATCH, device=device
        ),
        "many labels": partial(
            larger.train,
            _rows(notes, num_labels=many),
            sampler=_sampler(config, num_labels=many),
            config=config,
        ),
    }
    if device.type == "cuda":
        compiled = partial(ours.train, rows, sampler=sampler, config=config, compiled=True)
        try:
            compiled()
        # A missing compiler, an operation that it does not know: the other ways are still measured.
        except Exception:
            logger.warning("the encoder cannot be compiled for training", exc_info=True)
        else:
            candidates["compiled"] = compiled
    with tempfile.TemporaryDirectory() as folder:
        if num_lower:
            lower = _stored(ours, notes, num_layers=num_lower, folder=Path(folder))
            candidates["stored prefix"] = partial(ours.train, rows, sampler=sampler, config=config, lower_layers=lower)
        taken = side_by_side(candidates, rounds=rounds)
    prefix, packed = f"{shape.name} LoRA training", taken["packed"]
    num_tokens = sum(len(window) for note in counted for window in note)
    result = [
        Row(f"{prefix} {unit}", number / packed, f"{unit}/s", "padded Trainer", number / taken["Trainer"])
        for unit, number in (("notes", len(counted)), ("tokens", num_tokens))
    ]
    result.append(Row(f"{prefix} share of the matmul ceiling", flop / packed / ceiling, "share"))
    result += [
        Row(f"{prefix} notes, {name}", len(counted) / taken[at], "notes/s", "packed", len(counted) / packed)
        for at, name in (("stored prefix", f"lower {num_lower} layers stored"), ("compiled", "compiled"))
        if at in taken
    ]
    step = 1e3 / num_steps
    name, beside = f"{prefix} time of a step with {many:,} labels", f"{few:,} labels"
    return [*result, Row(name, taken["many labels"] * step, "ms", beside, packed * step)]
