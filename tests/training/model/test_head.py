"""Label attention: its logit is the sum of what each token contributes."""

import pytest
import torch
from torch import nn

from training.model import head as head_module
from training.model.head import LabelAttention

NUM_LABELS, HIDDEN, LENGTHS = 7, 8, (5, 0, 3, 12)
# Sums of a few dozen float32 terms of order 1.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def head() -> LabelAttention:
    torch.manual_seed(0)
    descriptions_LD = torch.nn.functional.normalize(torch.randn(NUM_LABELS, HIDDEN), dim=1)
    made = LabelAttention(descriptions_LD, hidden_size=HIDDEN, prior_L=torch.rand(NUM_LABELS))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.fixture(scope="module")
def hidden_NH() -> torch.Tensor:
    return torch.randn(sum(LENGTHS), HIDDEN, generator=torch.Generator().manual_seed(1))


def test_contributions_and_bias_sum_to_the_logit(head: LabelAttention, hidden_NH: torch.Tensor) -> None:
    logits_BL, attention_LN, value_LN = head(hidden_NH, LENGTHS)
    for logits_L, one_LM in zip(logits_BL, (attention_LN * value_LN).split(LENGTHS, dim=1), strict=True):
        summed_L = one_LM.sum(dim=1) + head.bias.weight.squeeze(1)
        torch.testing.assert_close(logits_L, summed_L, atol=TOLERANCE, rtol=0)
    for length, one_LM in zip(LENGTHS, attention_LN.split(LENGTHS, dim=1), strict=True):
        shares_L = torch.full((NUM_LABELS,), 1.0 if length else 0.0)
        torch.testing.assert_close(one_LM.sum(dim=1), shares_L, atol=TOLERANCE, rtol=0)


def test_attention_times_gradient_is_the_contribution(head: LabelAttention, hidden_NH: torch.Tensor) -> None:
    logits_BL, attention_LN, value_LN = head(hidden_NH, LENGTHS)
    (gradient_LN,) = torch.autograd.grad(logits_BL.sum(), attention_LN)
    torch.testing.assert_close(attention_LN * gradient_LN, attention_LN * value_LN, atol=TOLERANCE, rtol=0)


def test_chosen_labels_are_rows_of_all(head: LabelAttention, hidden_NH: torch.Tensor) -> None:
    labels_S = torch.tensor([5, 0, 3])
    some, every = head(hidden_NH, LENGTHS, labels_S), head(hidden_NH, LENGTHS)
    torch.testing.assert_close(some[0], every[0][:, labels_S], atol=TOLERANCE, rtol=0)
    for one, all_of_them in zip(some[1:], every[1:], strict=True):
        torch.testing.assert_close(one, all_of_them[labels_S], atol=TOLERANCE, rtol=0)


def test_records_together_give_the_logits_and_gradients_of_each(head: LabelAttention, hidden_NH: torch.Tensor) -> None:
    together_NH = hidden_NH.clone().requires_grad_()
    head(together_NH, LENGTHS)[0].square().sum().backward()
    assert together_NH.grad is not None
    with torch.no_grad():
        logits_BL = head(hidden_NH, LENGTHS)[0]
    parts = zip(logits_BL, hidden_NH.split(LENGTHS), together_NH.grad.split(LENGTHS), strict=True)
    for logits_L, one_MH, gradient_MH in parts:
        alone_MH = one_MH.clone().requires_grad_()
        alone_1L = head(alone_MH, [len(alone_MH)])[0]
        alone_1L.square().sum().backward()
        torch.testing.assert_close(logits_L, alone_1L[0].detach(), atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(gradient_MH, alone_MH.grad, atol=TOLERANCE, rtol=TOLERANCE)


def test_scores_are_the_logits(head: LabelAttention, hidden_NH: torch.Tensor) -> None:
    with torch.no_grad():
        logits_BL, vectors = head(hidden_NH, LENGTHS)[0], head.label_vectors()
        for logits_L, one_MH in zip(logits_BL, hidden_NH.split(LENGTHS), strict=True):
            torch.testing.assert_close(head.score(one_MH, vectors), logits_L, atol=TOLERANCE, rtol=0)


def test_a_record_without_tokens_gets_the_bias_and_finite_gradients(
    head: LabelAttention, hidden_NH: torch.Tensor
) -> None:
    logits_BL, _, _ = head(hidden_NH, LENGTHS)
    torch.testing.assert_close(logits_BL[1], head.bias.weight.squeeze(1), atol=TOLERANCE, rtol=0)
    gradients = torch.autograd.grad(logits_BL.sum(), [p for p in head.parameters() if p.requires_grad])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_fresh_head_starts_from_the_priors() -> None:
    prior_L = torch.tensor([0.0, 0.25, 0.9])
    fresh = LabelAttention(torch.eye(3, HIDDEN), hidden_size=HIDDEN, prior_L=prior_L)
    # Priors are kept within what a bias can still unlearn: 0.0001 and 0.5.
    expected = torch.logit(torch.tensor([1e-4, 0.25, 0.5]))
    torch.testing.assert_close(fresh.bias.weight.squeeze(1).detach(), expected, atol=TOLERANCE, rtol=0)


def test_frozen_labels_are_the_same_and_hold_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "_LABELS_AT_ONCE", 3)
    head = LabelAttention(torch.randn(8, 6), hidden_size=4, prior_L=torch.rand(8))
    nn.init.normal_(head.query_residual.weight)
    nn.init.normal_(head.output_residual.weight)
    expected = head.label_vectors()
    hidden_NH = torch.randn(5, 4)
    logits_BL = head(hidden_NH, [5])[0]
    frozen = head.freeze_labels()
    for name in ("query_SH", "output_SH", "bias_S"):
        torch.testing.assert_close(getattr(frozen, name), getattr(expected, name), atol=1e-6, rtol=0)
    torch.testing.assert_close(head.score(hidden_NH, frozen), logits_BL[0], atol=1e-6, rtol=0)
    assert {name.partition(".")[0] for name, _ in head.named_parameters()} == {"key", "value"}
