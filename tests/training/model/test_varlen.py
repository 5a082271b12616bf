"""Flat rows: without padding, every window reads what it reads in a stack and alone, loss and gradients."""

import logging
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from training.lower_layers import LowerLayers
from training.model import varlen
from training.model.coding_model import CodingModel, encode_packed
from training.model.encoder import Lora, add_lora, encode, encode_lower_layers
from training.model.head import LabelAttention
from training.model.packing import PackedWindows, pack_windows
from training.model.varlen import attend_by_edges, reads_flat_rows

FIRST, LAST, PAD = 1, 2, 0
VOCABULARY, HIDDEN, NUM_LABELS = 50, 32, 9
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
# Sums in another order, through four layers; in half precision a share of the norm, and twice of it for gradients.
SINGLE, HALF = 1e-5, 1e-2

Records = list[list[list[int]]]

windows = st.lists(st.integers(3, VOCABULARY - 1), max_size=40).map(lambda ids: [FIRST, *ids, LAST])
records = st.lists(st.lists(windows, min_size=1, max_size=5), min_size=1, max_size=5)


def bert() -> PreTrainedModel:
    return BertModel(BertConfig(**SIZES, attention_probs_dropout_prob=0.0), add_pooling_layer=False)


def modern_bert() -> PreTrainedModel:
    """Two layers that read everything, two that read four tokens to each side."""
    special = {"pad_token_id": PAD, "cls_token_id": FIRST, "sep_token_id": LAST, "bos_token_id": 1, "eos_token_id": 2}
    return ModernBertModel(ModernBertConfig(**SIZES, **special, local_attention=8))


def roberta() -> PreTrainedModel:
    """Counts positions from behind the padding's."""
    return RobertaModel(RobertaConfig(**SIZES, pad_token_id=PAD, max_position_embeddings=128), add_pooling_layer=False)


def coding_model(make: Callable[[], PreTrainedModel]) -> CodingModel:
    torch.manual_seed(torch.seed() % 2**31)
    encoder = add_lora(make(), Lora(rank=4, alpha=8, dropout=0.0, num_top_layers=2), base_name="tiny").base_model.model
    for name, value in encoder.named_parameters():
        if "lora_" in name:
            nn.init.normal_(value, std=0.2)
    head = LabelAttention(torch.randn(NUM_LABELS, HIDDEN), hidden_size=HIDDEN, prior_L=torch.rand(NUM_LABELS))
    attend_by_edges(encoder)
    return CodingModel(encoder, head).eval()


@pytest.fixture(scope="module", params=[bert, modern_bert, roberta])
def model(request: pytest.FixtureRequest) -> CodingModel:
    return coding_model(request.param)


def loss_and_gradients(model: CodingModel, packs: list[PackedWindows]) -> tuple[Tensor, Tensor]:
    """Of all records, encoded together or each alone."""
    model.zero_grad()
    logits_BL = torch.cat([model(packed)[0] for packed in packs])
    (logits_BL - torch.linspace(-1, 1, NUM_LABELS)).square().mean().backward()
    gradients = [value.grad.flatten() for value in model.parameters() if value.grad is not None]
    assert len(gradients) > 20
    return logits_BL.detach(), torch.cat(gradients)


def packs_of(made: Records) -> dict[str, list[PackedWindows]]:
    alone = [pack_windows([one], pad_token_id=PAD) for one in made]
    rows = [pack_windows(made, pad_token_id=PAD, flat=True, max_stack_tokens=room) for room in (64, None)]
    return {"stacks": [pack_windows(made, pad_token_id=PAD)], "alone": alone, "rows": rows[:1], "one row": rows[1:]}


@settings(max_examples=15, deadline=None)
@given(made=records)
def test_flat_rows_give_what_stacks_give_and_each_record_alone(model: CodingModel, made: Records) -> None:
    found = {name: loss_and_gradients(model, packs) for name, packs in packs_of(made).items()}
    for name in ("alone", "rows", "one row"):
        for ours, theirs in zip(found[name], found["stacks"], strict=True):
            # Sums cancel: the rounding of a small gradient is that of the large ones.
            apart, largest = float((ours - theirs).abs().max()), float(theirs.abs().max())
            assert apart <= SINGLE * max(largest, 1), name


def random_records(draw: np.random.Generator) -> Records:
    return [[[FIRST, *draw.integers(3, VOCABULARY, draw.integers(0, 60)).tolist(), LAST]] for _ in range(8)]


def test_the_same_in_half_precision(model: CodingModel) -> None:
    packs = packs_of(random_records(np.random.default_rng()))
    with torch.autocast("cpu", torch.bfloat16):
        flat, stacked = (varlen._run(model.encoder, packs[name][0]) for name in ("one row", "stacks"))
    for ours, theirs, most in zip(flat, stacked, (HALF, 2 * HALF), strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < most


@settings(max_examples=10, deadline=None)
@given(made=records)
def test_the_frozen_layers_are_recalled_in_flat_rows(model: CodingModel, made: Records) -> None:
    flat = pack_windows(made, pad_token_id=PAD, flat=True, max_stack_tokens=64)
    states = []
    with torch.no_grad():
        for window in [window for record in made for window in record]:
            (row,) = pack_windows([[window]], pad_token_id=PAD, flat=True).stacks
            states.append(encode_lower_layers(model.encoder, 2, row.input_ids_WT, None, row.edges)[0])
        lengths = [[len(window) for window in record] for record in made]
        lower = LowerLayers(torch.cat(states).numpy(), lengths).recall(range(len(made)), stacks=flat.stacks)
        recalled_NH = encode_packed(model.encoder, flat, lower=lower, num_lower_layers=2)
        whole_NH = encode_packed(model.encoder, pack_windows(made, pad_token_id=PAD))
    torch.testing.assert_close(recalled_NH, whole_NH, atol=SINGLE, rtol=SINGLE)


def test_the_flat_forward_compiles_as_one_graph_for_every_shape(model: CodingModel) -> None:
    draw, graphs = np.random.default_rng(), 0

    def count(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        nonlocal graphs
        graphs += 1
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(model.encoder, backend=count, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for _ in range(4):
            flat = pack_windows(random_records(draw), pad_token_id=PAD, flat=True)
            expected_NH = encode_packed(model.encoder, flat)
            torch.testing.assert_close(encode_packed(compiled, flat), expected_NH, atol=SINGLE, rtol=SINGLE)
    assert graphs == 1


@pytest.mark.parametrize("make", [bert, modern_bert])
@pytest.mark.parametrize("compiles", [False, True])
def test_the_kernel_takes_what_it_is_given_forward_and_backward(
    make: Callable[[], PreTrainedModel], compiles: bool
) -> None:
    # The meta device runs no kernel, but checks how each is called.
    encoder = coding_model(make).encoder.to("meta", torch.bfloat16)
    called, kernel = list[tuple[int, int]](), varlen.varlen_attn

    def seen(*given: object, window_size: tuple[int, int], **named: object) -> object:
        called.append(window_size)
        return kernel(*given, window_size=window_size, **named)

    flat = pack_windows(random_records(np.random.default_rng()), pad_token_id=PAD, flat=True)
    (stack,) = flat.to(torch.device("meta")).stacks
    torch.compiler.reset()
    run = torch.compile(encoder, backend="aot_eager", fullgraph=True, dynamic=True) if compiles else encoder
    with pytest.MonkeyPatch.context() as patch:
        if not compiles:
            patch.setattr(varlen, "varlen_attn", seen)
        hidden_WTH = encode(run, stack.input_ids_WT, None, stack.edges)
        hidden_WTH.float().sum().backward()
    assert (hidden_WTH.shape, hidden_WTH.dtype) == ((*stack.input_ids_WT.shape, HIDDEN), torch.bfloat16)
    assert all(value.grad is not None for name, value in encoder.named_parameters() if "lora_" in name)
    everything, four = (-1, -1), (4, 4)
    wanted = {bert: [everything] * 4, modern_bert: [everything, four, four, everything]}[make]
    assert compiles or called == wanted


@pytest.fixture
def with_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, whose kernel plain PyTorch stands for."""
    monkeypatch.setattr(varlen, "_has_kernel", lambda _: True)


@pytest.mark.usefixtures("with_kernel")
@pytest.mark.parametrize("make", [bert, modern_bert, roberta])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_encoder_that_agrees_reads_flat_rows(make: Callable[[], PreTrainedModel], precision: torch.dtype) -> None:
    encoder = coding_model(make).encoder.train()
    encoder.set_attn_implementation("sdpa")
    with torch.autocast("cpu", torch.bfloat16) if precision == torch.bfloat16 else nullcontext():
        assert reads_flat_rows(encoder)
    assert encoder.training
    assert encode_packed(encoder, pack_windows([[[FIRST, 5, LAST]]], pad_token_id=PAD, flat=True)).shape == (1, HIDDEN)


def _leaking(*given: Tensor, scaling: float | None, reach: int) -> Tensor:
    query_TAC, key_TAC, value_TAC, edges_E = given
    return varlen_plain(query_TAC, key_TAC, value_TAC, edges_E[[0, -1]], scaling=scaling, reach=reach)


def _wrong_gradient(*given: Tensor, scaling: float | None, reach: int) -> Tensor:
    read_TAC = varlen_plain(*given, scaling=scaling, reach=reach)
    return read_TAC.detach() + 0.5 * (read_TAC - read_TAC.detach())


def _failing(*_: Tensor, scaling: float | None, reach: int) -> Tensor:
    raise NotImplementedError(f"{scaling} {reach}")


varlen_plain = varlen._plain


@pytest.mark.usefixtures("with_kernel")
@pytest.mark.parametrize(
    ("kernel", "why"), [(_leaking, "differ by"), (_wrong_gradient, "differ by"), (_failing, "fail (NotImplemented")]
)
@pytest.mark.parametrize("make", [bert, modern_bert])
def test_windows_are_stacked_where_the_kernel_is_wrong_or_fails(
    make: Callable[[], PreTrainedModel],
    kernel: Callable[..., Tensor],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    encoder = coding_model(make).encoder
    encoder.set_attn_implementation("sdpa")
    monkeypatch.setattr(varlen, "_plain", kernel)
    with caplog.at_level(logging.WARNING):
        assert not reads_flat_rows(encoder)
    assert why in caplog.text
    assert encoder.config._attn_implementation == "sdpa"


def test_a_cpu_has_no_kernel_and_that_is_not_worth_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    encoder = bert()
    with torch.autocast("cpu", torch.bfloat16):
        assert not reads_flat_rows(encoder)
    assert not caplog.text
    assert encoder.config._attn_implementation == "sdpa"
