"""Training: our packed step, with and without the stored prefix, beside transformers.Trainer on padded notes.

Same LoRA placement, head, labels, loss, precision and order of notes; the time is that of whole steps, collation
included, without the first.
"""

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from scripts.benchmark_results import RESULTS, Row
from scripts.model_benchmark.padded import PaddedCodingModel, pad_notes
from scripts.model_benchmark.shapes import PAD, EncoderShape, make_head, random_notes
from scripts.model_benchmark.timing import now, side_by_side
from training.batches import Collator, label_targets
from training.config import TrainConfig, load_config
from training.label_sampler import LabelSampler
from training.lower_layers import LowerLayers
from training.model.coding_model import CodingModel
from training.model.encoder import Lora, add_lora
from training.optimisers import Optimisers
from training.processes import make_accelerator
from training.step import train_step

__all__ = ["training_rows"]

_BATCH: Final = 8
_SIGMA: Final = 0.9
_NUM_LABELS: Final = 2_000
_CODES_A_NOTE: Final = 8
_LABELS_A_CATEGORY: Final = 10
_MAX_TOKENS_A_PASS: Final = 2**17


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when each step ended."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(now(self.device))


class _InOrder(Trainer):  # type: ignore[misc]
    """Trainer that takes the notes as they come, so that both sides see the same batches."""

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


def _rows(notes: Sequence[Sequence[Sequence[int]]]) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(4)
    rows = []
    for at, windows in enumerate(notes):
        positive = torch.randperm(_NUM_LABELS, generator=generator)[:_CODES_A_NOTE].tolist()
        rows.append(
            {
                "row": at,
                "input_ids": windows,
                "complete": True,
                "positive": positive,
                "positive_weight": [1.0] * _CODES_A_NOTE,
                "negative": [],
                "negative_weight": [],
                "unknown": [],
                "evidence_label": [],
                "evidence_tokens": [],
            }
        )
    return rows


def _sampler(config: TrainConfig) -> LabelSampler:
    def siblings(label: int) -> list[int]:
        first = label - label % _LABELS_A_CATEGORY
        return [other for other in range(first, first + _LABELS_A_CATEGORY) if other != label]

    every = [siblings(label) for label in range(_NUM_LABELS)]
    return LabelSampler(every, num_sampled=config.head.num_sampled_labels, seed=0)


def _model(encoder: PreTrainedModel, shape: EncoderShape, lora: Lora, device: torch.device) -> CodingModel:
    head = make_head(encoder, num_labels=_NUM_LABELS)
    return CodingModel(add_lora(encoder, lora, base_name=shape.name).base_model.model, head).to(device)


def _ours(
    model: CodingModel,
    rows: list[dict[str, Any]],
    *,
    config: TrainConfig,
    lower_layers: LowerLayers | None,
    device: torch.device,
) -> float:
    """Seconds of all steps but the first."""
    accelerator = make_accelerator(config.optimisation.precision)
    num_steps = len(rows) // _BATCH
    optimisers = Optimisers(model, config.optimisation, total_steps=num_steps, accelerator=accelerator)
    prepared = accelerator.prepare_model(model.train(), evaluation_mode=True)
    collator = Collator(_sampler(config), pad_token_id=PAD, lower_layers=lower_layers)
    ends = []
    for step in range(num_steps):
        batch = rows[step * _BATCH : (step + 1) * _BATCH]
        passes = [one.to(device) for one in collator(batch, step=step, max_tokens=_MAX_TOKENS_A_PASS)]
        train_step(prepared, passes, optimisers=optimisers, accelerator=accelerator, config=config)
        ends.append(now(device))
    return ends[-1] - ends[0]


def _trainer(
    model: PaddedCodingModel, rows: list[dict[str, Any]], *, config: TrainConfig, device: torch.device
) -> float:
    """Seconds of all steps but the first."""
    sampler, steps = _sampler(config), count()

    def padded(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        names = ("input_ids_BWT", "mask_BWT", "read_BM", "labels_S", "targets_BS", "weights_BS")
        values = *pad_notes([row["input_ids"] for row in batch]), *label_targets(batch, sampler, step=next(steps))
        return dict(zip(names, values, strict=True))

    clock = _Clock(device)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=_BATCH,
            max_steps=len(rows) // _BATCH,
            bf16=config.optimisation.precision == "bf16",
            max_grad_norm=config.optimisation.max_gradient_norm,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=device.type == "cpu",
        )
        trainer = _InOrder(model, arguments, data_collator=padded, train_dataset=rows, callbacks=[clock])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.ends[-1] - clock.ends[0]


def training_rows(
    shape: EncoderShape, *, num_steps: int, rounds: int, ceiling: float, device: torch.device, precision: str
) -> list[Row]:
    """Notes and tokens a second beside the Trainer, what the stored prefix adds, share of the ceiling.

    Args:
        shape: Of the encoder.
        num_steps: Measured steps a round.
        rounds: Measured rounds.
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
    rows = _rows(notes)
    counted = notes[_BATCH:]
    num_tokens = sum(len(window) for note in counted for window in note)
    torch.manual_seed(0)
    plain = shape.make()
    flop = sum(
        len(window) * shape.flop_a_token(plain, window_tokens=len(window)) for note in counted for window in note
    )
    num_layers = int(plain.config.num_hidden_layers)
    num_lower = num_layers - shape.num_lora_layers
    # Forward through every layer, and as much again, for the gradient of the activations, in the layers with LoRA.
    flop *= 1 + shape.num_lora_layers / num_layers
    model = _model(plain, shape, config.lora, device)
    peer = PaddedCodingModel(model.encoder, model.head)
    ours = partial(_ours, model, rows, config=config, device=device)
    with tempfile.TemporaryDirectory() as folder:
        candidates = {"packed": partial(ours, lower_layers=None)}
        candidates["Trainer"] = partial(_trainer, peer, rows, config=config, device=device)
        if num_lower:
            lower = LowerLayers.compute(
                model.encoder,
                notes,
                num_layers=num_lower,
                path=Path(folder) / "lower.bin",
                weights_sha256="random",
                pad_token_id=PAD,
                precision=config.optimisation.precision,
                autocast=nullcontext,
                progress=lambda _: None,
            )
            candidates["stored prefix"] = partial(ours, lower_layers=lower)
        taken = side_by_side(candidates, rounds=rounds)
    packed, trainer, prefix = taken["packed"], taken["Trainer"], f"{shape.name} LoRA training"
    result = [
        Row(f"{prefix} notes", len(counted) / packed, "notes/s", "padded Trainer", len(counted) / trainer),
        Row(f"{prefix} tokens", num_tokens / packed, "tokens/s", "padded Trainer", num_tokens / trainer),
        Row(f"{prefix} share of the matmul ceiling", flop / packed / ceiling, "share"),
    ]
    if num_lower:
        name = f"{prefix} notes, lower {num_lower} layers stored"
        rate = len(counted) / taken["stored prefix"]
        result.append(Row(name, rate, "notes/s", "packed, nothing stored", len(counted) / packed))
    return result
