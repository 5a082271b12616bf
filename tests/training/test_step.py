"""One training step: however it is computed, loss and gradients are the same."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn
from transformers import BertConfig, BertModel

from training.batches import Batch, Collator
from training.build import checkpoint_activations
from training.config import TrainConfig
from training.dropout import drop_in_top_layers
from training.label_sampler import LabelSampler
from training.lower_layers import LowerLayers
from training.model.coding_model import CodingModel
from training.model.encoder import Lora, add_lora
from training.model.head import LabelAttention
from training.optimisers import Optimisers
from training.processes import make_accelerator
from training.step import PassTooLargeError, train_step

FIRST, LAST, PAD, VOCABULARY, NUM_LABELS, HIDDEN = 1, 2, 0, 60, 30, 32
TOLERANCES = {"fp32": 1e-5, "bf16": 1e-2}
precisions = pytest.mark.parametrize("precision", ["fp32", "bf16"])
Precision = Literal["fp32", "bf16"]


def made_model(config: TrainConfig, *, checkpointing: bool = False) -> CodingModel:
    """The same random weights each time, LoRA's included, with dropout in the top layers."""
    torch.manual_seed(3)
    shape = {"hidden_size": HIDDEN, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.0}
    encoder = BertModel(BertConfig(vocab_size=VOCABULARY, **shape, **dropout), add_pooling_layer=False)
    lora = Lora(rank=4, alpha=8, dropout=0.1, num_top_layers=config.lora.num_top_layers)
    wrapped = add_lora(encoder, lora, base_name="tiny").base_model.model
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.05)
    drop_in_top_layers(wrapped, num_top_layers=lora.num_top_layers)
    if checkpointing:
        checkpoint_activations(wrapped)
    head = LabelAttention(torch.randn(NUM_LABELS, HIDDEN), hidden_size=HIDDEN, prior_L=torch.rand(NUM_LABELS))
    return CodingModel(wrapped, head)


def no_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "p"):
            module.p = 0.0


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Six records of fresh random windows."""
    draw = np.random.default_rng()
    made = []
    for at in range(6):
        windows = [[FIRST, *draw.integers(3, VOCABULARY, length).tolist(), LAST] for length in draw.integers(1, 30, 4)]
        positive = draw.choice(NUM_LABELS, 3, replace=False).tolist()
        row = {"row": at, "input_ids": windows, "complete": True, "unknown": [], "negative": [], "negative_weight": []}
        evidence = {"evidence_label": positive[:1], "evidence_tokens": [[0, 1]]}
        made.append(row | evidence | {"positive": positive, "positive_weight": [1.0] * 3})
    return made


@pytest.fixture
def gradients(made_config: TrainConfig) -> Iterator[Callable[..., tuple[float, dict[str, torch.Tensor]]]]:
    """Loss and gradients of one step, read off before the update."""

    def of(
        model: CodingModel,
        rows: list[dict[str, Any]],
        *,
        precision: Precision,
        max_tokens: int = 10_000,
        lower_layers: LowerLayers | None = None,
    ) -> tuple[float, dict[str, torch.Tensor]]:
        options = made_config.optimisation.model_copy(update={"precision": precision, "max_gradient_norm": 1e9})
        config = made_config.model_copy(update={"optimisation": options})
        # A process trains in one precision; tests share a process.
        AcceleratorState._reset_state()
        accelerator = make_accelerator(precision, cpu=True)
        optimisers = Optimisers(model, options, total_steps=2, accelerator=accelerator)
        seen: dict[str, torch.Tensor] = {}

        def keep() -> None:
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    seen[name] = parameter.grad.to_dense().clone()

        optimisers.step = keep  # type: ignore[method-assign]
        prepared = accelerator.prepare_model(model, evaluation_mode=True)
        sampler = LabelSampler([[] for _ in range(NUM_LABELS)], num_sampled=20, seed=0)
        collator = Collator(sampler, pad_token_id=PAD, lower_layers=lower_layers)
        passes = collator(rows, step=0, max_tokens=max_tokens)
        model.train()
        torch.manual_seed(5)
        loss = train_step(prepared, passes, optimisers=optimisers, accelerator=accelerator, config=config)
        return loss, seen

    yield of
    AcceleratorState._reset_state()


def assert_same(
    one: tuple[float, Mapping[str, torch.Tensor]], other: tuple[float, Mapping[str, torch.Tensor]], *, tolerance: float
) -> None:
    assert one[0] == pytest.approx(other[0], rel=tolerance)
    assert one[1].keys() == other[1].keys()
    # Each kind by itself: the encoder's gradients are small beside the head's.
    for kind in ("lora_", "residual", "head.bias", "head.key", "head.value", "head.query.", "head.output."):
        names = [name for name in sorted(one[1]) if kind in name]
        found, wanted = (torch.cat([side[1][name].flatten() for name in names]) for side in (one, other))
        apart = float(torch.linalg.vector_norm(found - wanted) / torch.linalg.vector_norm(wanted))
        assert apart <= tolerance, kind


@precisions
def test_several_passes_equal_one(gradients: Any, rows: Any, made_config: TrainConfig, precision: Precision) -> None:
    model = made_model(made_config)
    no_dropout(model)
    whole = gradients(model, rows, precision=precision)
    model = made_model(made_config)
    no_dropout(model)
    parted = gradients(model, rows, precision=precision, max_tokens=40)
    assert_same(parted, whole, tolerance=TOLERANCES[precision])


@precisions
def test_activation_checkpointing_changes_nothing(
    gradients: Any, rows: Any, made_config: TrainConfig, precision: Precision
) -> None:
    kept = gradients(made_model(made_config), rows, precision=precision)
    again = gradients(made_model(made_config, checkpointing=True), rows, precision=precision)
    assert_same(again, kept, tolerance=TOLERANCES[precision])


@precisions
def test_stored_lower_layers_equal_computed_ones_dropout_included(
    gradients: Any, rows: Any, made_config: TrainConfig, precision: Precision, tmp_path: Path
) -> None:
    stored = LowerLayers.compute(
        made_model(made_config).encoder,
        [row["input_ids"] for row in rows],
        num_layers=3 - made_config.lora.num_top_layers,
        path=tmp_path / "lower.bin",
        weights_sha256="0",
        pad_token_id=PAD,
        precision=precision,
        autocast=lambda: torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
        progress=lambda _: None,
    )
    computed = gradients(made_model(made_config), rows, precision=precision)
    recalled = gradients(made_model(made_config), rows, precision=precision, lower_layers=stored)
    # Stored layers were computed in other stacks, whose sums are rounded in another order: bfloat16 keeps 8 bits.
    assert_same(recalled, computed, tolerance={"fp32": TOLERANCES["fp32"], "bf16": 2e-2}[precision])


def test_stored_lower_layers_are_used_again_only_where_all_they_depend_on_is_the_same(
    rows: Any, made_config: TrainConfig, tmp_path: Path
) -> None:
    encoder = made_model(made_config).encoder
    calls: list[int] = []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    windows = [row["input_ids"] for row in rows]
    others = [[[*window[:-2], 3 + window[-2] % 50, LAST] for window in record] for record in windows]

    def compute(**changed: Any) -> int:
        before = len(calls)
        given = {"num_layers": 1, "weights_sha256": "0", "precision": "fp32", "windows": windows} | changed
        LowerLayers.compute(
            encoder,
            given.pop("windows"),
            path=tmp_path / "lower.bin",
            pad_token_id=PAD,
            autocast=nullcontext,
            progress=lambda _: None,
            **given,
        )
        return len(calls) - before

    assert compute() > 0
    assert compute() == 0
    for changed in ({"num_layers": 2}, {"weights_sha256": "1"}, {"precision": "bf16"}, {"windows": others}):
        assert compute(**changed) > 0, changed


def test_a_step_s_gradient_holds_only_the_labels_that_it_scores(
    made_config: TrainConfig,
) -> None:
    model = made_model(made_config)
    model.head(torch.randn(5, HIDDEN), [5], torch.tensor([3, 1]))[0].sum().backward()
    for table in (model.head.query_residual, model.head.output_residual, model.head.bias):
        assert table.weight.grad is not None and table.weight.grad.is_sparse
        assert sorted(table.weight.grad.coalesce().indices()[0].tolist()) == [1, 3]


class _SmallMemory(CodingModel):
    """Fails as a device does, on the third pass."""

    def __init__(self, model: CodingModel):
        super().__init__(model.encoder, model.head)
        self.num_gradients_before: list[int] = []

    def forward(self, *given: Any, **options: Any) -> Any:
        self.num_gradients_before.append(sum(parameter.grad is not None for parameter in self.parameters()))
        if len(self.num_gradients_before) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(*given, **options)


def test_a_pass_too_large_for_memory_leaves_no_gradient(gradients: Any, rows: Any, made_config: TrainConfig) -> None:
    model = _SmallMemory(made_model(made_config))
    with pytest.raises(PassTooLargeError):
        gradients(model, rows, precision="fp32", max_tokens=1)
    assert model.num_gradients_before[1] > 0
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is not None]


def test_memory_too_small_for_a_pass_makes_passes_smaller_and_says_so(
    start_fit: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read: list[int] = []
    forward = CodingModel.forward

    def small(model: CodingModel, windows: Any, *given: Any, **options: Any) -> Any:
        if sum(windows.lengths) > 250 and model.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        read.append(len(windows.lengths))
        return forward(model, windows, *given, **options)

    whole = start_fit(folder="whole", num_epochs=1, adjust=no_dropout)
    monkeypatch.setattr(CodingModel, "forward", small)
    with caplog.at_level(logging.WARNING):
        parted = start_fit(folder="parted", num_epochs=1, adjust=no_dropout)
    assert "out of memory: a training step now reads at most" in caplog.text
    assert max(read) < 4 < len(read)
    assert parted.losses == pytest.approx(whole.losses, rel=1e-5)


def test_a_record_too_large_for_memory_ends_training_with_a_remedy(
    start_fit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(CodingModel, "forward", never)
    with pytest.raises(ValueError, match=r"a record of \d+ tokens; set optimisation.activation_checkpointing: true"):
        start_fit(num_epochs=1)


def test_shares_of_processes_are_the_batch_with_the_same_labels(rows: list[dict[str, Any]]) -> None:
    sampler = LabelSampler([[] for _ in range(NUM_LABELS)], num_sampled=20, seed=0)
    collator = Collator(sampler, pad_token_id=PAD, lower_layers=None)
    (whole,) = collator(rows, step=2, max_tokens=10_000)
    shares: list[Batch] = []
    for process in range(4):
        (share,) = collator(rows, step=2, max_tokens=10_000, process_index=process, num_processes=4)
        shares.append(share)
    assert [share.windows.lengths for share in shares] == [whole.windows.lengths[at::4] for at in range(4)]
    for at, share in enumerate(shares):
        assert torch.equal(share.labels_S, whole.labels_S)
        assert torch.equal(share.targets_BS, whole.targets_BS[at::4])
        assert share.num_records_of_step == 6
    (none,) = collator(rows[:1], step=2, max_tokens=10_000, process_index=1, num_processes=2)
    assert none.windows.lengths == () and len(none.targets_BS) == 0
