"""Label attention: its logit is the sum of what each token contributes."""

import pytest
import torch

from training.model.head import LabelAttention

NUM_LABELS, HIDDEN, TOKENS = 7, 8, 5
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
def hidden_BMH() -> torch.Tensor:
    return torch.randn(3, TOKENS, HIDDEN, generator=torch.Generator().manual_seed(1))


def all_real(hidden_BMH: torch.Tensor) -> torch.Tensor:
    return torch.ones(hidden_BMH.shape[:2], dtype=torch.bool)


def test_contributions_and_bias_sum_to_the_logit(head: LabelAttention, hidden_BMH: torch.Tensor) -> None:
    logits_BL, attention_BML, value_BML = head(hidden_BMH, all_real(hidden_BMH))
    summed_BL = (attention_BML * value_BML).sum(dim=1) + head.bias.weight.squeeze(1)
    torch.testing.assert_close(logits_BL, summed_BL, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(attention_BML.sum(dim=1), torch.ones(3, NUM_LABELS), atol=TOLERANCE, rtol=0)


def test_attention_times_gradient_is_the_contribution(head: LabelAttention, hidden_BMH: torch.Tensor) -> None:
    logits_BL, attention_BML, value_BML = head(hidden_BMH, all_real(hidden_BMH))
    (gradient_BML,) = torch.autograd.grad(logits_BL.sum(), attention_BML)
    torch.testing.assert_close(attention_BML * gradient_BML, attention_BML * value_BML, atol=TOLERANCE, rtol=0)


def test_chosen_labels_are_columns_of_all(head: LabelAttention, hidden_BMH: torch.Tensor) -> None:
    labels_S = torch.tensor([5, 0, 3])
    mask_BM = all_real(hidden_BMH)
    for some, every in zip(head(hidden_BMH, mask_BM, labels_S), head(hidden_BMH, mask_BM), strict=True):
        torch.testing.assert_close(some, every[..., labels_S], atol=TOLERANCE, rtol=0)


def test_padding_changes_nothing(head: LabelAttention, hidden_BMH: torch.Tensor) -> None:
    padded_BMH = torch.cat([hidden_BMH, torch.full((3, 4, HIDDEN), 50.0)], dim=1)
    mask_BM = torch.arange(TOKENS + 4).expand(3, -1) < TOKENS
    logits_BL, attention_BML, _ = head(padded_BMH, mask_BM)
    torch.testing.assert_close(logits_BL, head(hidden_BMH, all_real(hidden_BMH))[0], atol=TOLERANCE, rtol=0)
    assert not attention_BML[:, TOKENS:].any()


def test_a_record_without_tokens_gets_the_bias_and_finite_gradients(
    head: LabelAttention, hidden_BMH: torch.Tensor
) -> None:
    mask_BM = all_real(hidden_BMH)
    mask_BM[1] = False
    logits_BL, _, _ = head(hidden_BMH, mask_BM)
    torch.testing.assert_close(logits_BL[1], head.bias.weight.squeeze(1), atol=TOLERANCE, rtol=0)
    gradients = torch.autograd.grad(logits_BL.sum(), [p for p in head.parameters() if p.requires_grad])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_fresh_head_starts_from_the_priors() -> None:
    prior_L = torch.tensor([0.0, 0.25, 0.9])
    fresh = LabelAttention(torch.eye(3, HIDDEN), hidden_size=HIDDEN, prior_L=prior_L)
    # Priors are kept within what a bias can still unlearn: 0.0001 and 0.5.
    expected = torch.logit(torch.tensor([1e-4, 0.25, 0.5]))
    torch.testing.assert_close(fresh.bias.weight.squeeze(1).detach(), expected, atol=TOLERANCE, rtol=0)
