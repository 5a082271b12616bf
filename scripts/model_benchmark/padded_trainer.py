"""The peer of training: transformers.Trainer with PEFT's LoRA, the notes of a batch padded to its longest."""

import tempfile
from itertools import count
from typing import Any

import torch
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from scripts.model_benchmark.padded import PaddedCodingModel, pad_notes
from scripts.model_benchmark.timing import now
from training.batches import label_targets
from training.config import TrainConfig
from training.label_sampler import LabelSampler

__all__ = ["train_padded"]


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


def train_padded(
    model: PaddedCodingModel,
    rows: list[dict[str, Any]],
    *,
    sampler: LabelSampler,
    config: TrainConfig,
    batch_records: int,
    device: torch.device,
) -> float:
    """Seconds of all steps but the first."""
    steps = count()

    def padded(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        names = ("input_ids_BWT", "mask_BWT", "read_BM", "labels_S", "targets_BS", "weights_BS")
        values = *pad_notes([row["input_ids"] for row in batch]), *label_targets(batch, sampler, step=next(steps))
        return dict(zip(names, values, strict=True))

    clock = _Clock(device)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_records,
            max_steps=len(rows) // batch_records,
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
