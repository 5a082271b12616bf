"""Packing: windows of many records side by side give what each record alone gives, loss and gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from training.model import packing
from training.model.coding_model import CodingModel
from training.model.head import LabelAttention
from training.model.packing import pack_windows

FIRST, LAST, PAD = 1, 2, 0
VOCABULARY, HIDDEN, NUM_LABELS = 50, 16, 9
TOLERANCE = 1e-5

windows = st.lists(st.integers(3, VOCABULARY - 1), max_size=30).map(lambda ids: [FIRST, *ids, LAST])
records = st.lists(st.lists(windows, min_size=1, max_size=6), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def model() -> CodingModel:
    torch.manual_seed(0)
    shape = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = BertModel(BertConfig(vocab_size=VOCABULARY, **shape), add_pooling_layer=False)
    head = LabelAttention(torch.randn(NUM_LABELS, HIDDEN), hidden_size=HIDDEN, prior_L=torch.rand(NUM_LABELS))
    return CodingModel(encoder, head).eval()


@pytest.fixture
def small_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_MIN_STACK_TOKENS", 8)
    monkeypatch.setitem(pack_windows.__kwdefaults__, "max_stack_tokens", 64)


def gradients(model: CodingModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.usefixtures("small_stacks")
@settings(max_examples=25, deadline=None)
@given(made=records)
def test_packed_equals_separate(model: CodingModel, made: list[list[list[int]]]) -> None:
    target_L = torch.linspace(-1, 1, NUM_LABELS)
    packed = model(pack_windows(made, pad_token_id=PAD))[0]
    separate = torch.cat([model(pack_windows([one], pad_token_id=PAD))[0] for one in made])
    torch.testing.assert_close(packed, separate, atol=TOLERANCE, rtol=0)
    of_packed, of_separate = (gradients(model, (logits - target_L).square().mean()) for logits in (packed, separate))
    assert of_packed.keys() == of_separate.keys()
    for name, gradient in of_packed.items():
        torch.testing.assert_close(gradient, of_separate[name], atol=TOLERANCE, rtol=0, msg=name)


@pytest.mark.usefixtures("small_stacks")
def test_packed_equals_separate_in_half_precision(model: CodingModel) -> None:
    draw = np.random.default_rng()
    made = [
        [[FIRST, *draw.integers(3, VOCABULARY, length).tolist(), LAST] for length in draw.integers(1, 30, 5)]
        for _ in range(8)
    ]
    target_L = torch.linspace(-1, 1, NUM_LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        packed = model(pack_windows(made, pad_token_id=PAD))[0]
        separate = torch.cat([model(pack_windows([one], pad_token_id=PAD))[0] for one in made])
    of_packed, of_separate = (gradients(model, (logits - target_L).square().mean()) for logits in (packed, separate))
    for one, other in (
        (packed, separate),
        *((torch.cat([side[name].flatten() for name in side]) for side in (of_packed, of_separate)),),
    ):
        assert torch.linalg.vector_norm(one - other) <= 1e-2 * torch.linalg.vector_norm(other)


def test_five_hundred_notes_of_very_unequal_length_give_what_each_gives_alone(model: CodingModel) -> None:
    generator = np.random.default_rng()
    made = []
    for length in np.ceil(generator.lognormal(3, 1.5, 500)).astype(int).clip(max=3000).tolist():
        parts = np.array_split(generator.integers(3, VOCABULARY, length), -(-length // 30))
        made.append([[FIRST, *part.tolist(), LAST] for part in parts])
    with torch.no_grad():
        together = model(pack_windows(made, pad_token_id=PAD))[0]
        for at in range(0, 500, 25):
            alone = model(pack_windows([made[at]], pad_token_id=PAD))[0][0]
            torch.testing.assert_close(together[at], alone, atol=TOLERANCE, rtol=0)


def test_a_note_of_a_hundred_thousand_tokens_is_scored(model: CodingModel) -> None:
    long = [[FIRST, *[5] * 500, LAST]] * 200
    one = [[FIRST, 5, LAST]]
    with torch.no_grad():
        logits_BL, _, _ = model(pack_windows([long, one], pad_token_id=PAD))
        alone = model(pack_windows([one], pad_token_id=PAD))[0][0]
    assert torch.isfinite(logits_BL).all()
    torch.testing.assert_close(logits_BL[1], alone, atol=TOLERANCE, rtol=0)
