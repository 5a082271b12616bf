"""Dropout of the trained layers: the right share, the right scale, and nothing below them."""

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from training.dropout import Dropout, drop_in_top_layers
from training.model.encoder import Lora, add_lora

SHAPE = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("shape", [(1,), (3, 5, 7), (400, 1000)])
def test_what_is_kept_is_scaled_and_the_gradient_follows(p: float, shape: tuple[int, ...]) -> None:
    hidden = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    dropped = Dropout(p).train()(hidden)
    share = round(p * 256) / 256
    is_kept = dropped != 0
    torch.testing.assert_close(dropped, torch.where(is_kept, hidden / (1 - share), 0.0), atol=1e-12, rtol=0)
    if hidden.numel() > 100_000:
        # Five standard deviations of the share among so many.
        assert is_kept.double().mean().item() == pytest.approx(1 - share, abs=5 * (share * (1 - share) / 4e5) ** 0.5)
    dropped.sum().backward()
    torch.testing.assert_close(hidden.grad, is_kept.double() / (1 - share), atol=1e-12, rtol=0)


def test_masks_depend_on_the_seed_and_are_fresh_each_time() -> None:
    layer, hidden = Dropout(0.5).train(), torch.ones(1000)
    torch.manual_seed(1)
    first, second = layer(hidden), layer(hidden)
    torch.manual_seed(1)
    assert torch.equal(layer(hidden), first)
    assert not torch.equal(first, second)


def test_neighbours_are_dropped_independently() -> None:
    is_dropped = Dropout(0.5).train()(torch.ones(800_000)) == 0
    for distance in (1, 2, 8, 64):
        together = (is_dropped[distance:] & is_dropped[:-distance]).double().mean().item()
        assert together == pytest.approx(0.25, abs=0.005)


def test_nothing_is_dropped_in_evaluation_or_at_rate_zero() -> None:
    hidden = torch.randn(50)
    assert torch.equal(Dropout(0.5).eval()(hidden), hidden)
    assert torch.equal(Dropout(0.0).train()(hidden), hidden)


def test_only_the_top_layers_drop() -> None:
    config = BertConfig(vocab_size=30, **SHAPE, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.0)
    encoder = BertModel(config, add_pooling_layer=False)
    lora = Lora(rank=2, alpha=2, dropout=0.3, num_top_layers=1)
    wrapped = add_lora(encoder, lora, base_name="tiny").base_model.model
    drop_in_top_layers(wrapped, num_top_layers=1)
    rates = {name: module.p for name, module in wrapped.named_modules() if isinstance(module, Dropout) and module.p > 0}
    assert all(name.startswith("encoder.layer.2.") for name in rates)
    assert sorted(set(rates.values())) == [0.2, 0.3]
    assert not [name for name, module in wrapped.named_modules() if isinstance(module, nn.Dropout)]
