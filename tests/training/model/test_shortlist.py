"""The shortlist: logits of all labels by a few numbers a label."""

import pytest
import torch

from training.model import shortlist
from training.model.head import LabelAttention
from training.model.shortlist import Shortlist

NUM_LABELS, HIDDEN, DIRECTIONS = 3000, 64, 16


def made(hidden_size: int, num_labels: int, rank: int) -> tuple[LabelAttention, torch.Tensor]:
    """A head whose labels and tokens vary in a few directions, as trained ones do, and a sample of states."""
    torch.manual_seed(torch.seed())
    directions = torch.randn(rank, hidden_size) / rank**0.5
    head = LabelAttention(
        torch.nn.functional.normalize(torch.randn(num_labels, rank) @ directions, dim=1),
        hidden_size=hidden_size,
        prior_L=torch.rand(num_labels),
    )
    return head.eval(), torch.randn(2000, rank) @ directions


def test_with_every_dimension_and_token_logits_are_those_of_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist, "_TOKENS_READ_AS_ONE", 1)
    head, sample_NH = made(16, 50, 16)
    with torch.inference_mode():
        vectors = head.label_vectors()
        short = Shortlist(head, vectors, sample_NH)
        for length in (1, 2, 7, 400):
            hidden_MH = sample_NH[torch.randint(len(sample_NH), (length,))]
            torch.testing.assert_close(short.score(hidden_MH), head.score(hidden_MH, vectors), atol=1e-3, rtol=0)


def test_the_best_labels_are_among_the_shortlisted() -> None:
    head, sample_NH = made(HIDDEN, NUM_LABELS, DIRECTIONS)
    found = []
    with torch.inference_mode():
        vectors = head.label_vectors()
        short = Shortlist(head, vectors, sample_NH)
        for _ in range(20):
            # Runs of like tokens: words of a sentence speak of one thing.
            hidden_MH = sample_NH[torch.randint(len(sample_NH), (40,))].repeat_interleave(8, dim=0)
            best = head.score(hidden_MH, vectors).topk(50).indices
            found.append(torch.isin(best, short.score(hidden_MH).topk(300).indices).float().mean())
    assert torch.stack(found).mean() >= 0.995


@pytest.mark.parametrize("num_tokens", range(1, 10))
def test_any_number_of_tokens_is_read(num_tokens: int) -> None:
    head, sample_NH = made(HIDDEN, 20, DIRECTIONS)
    with torch.inference_mode():
        short = Shortlist(head, head.label_vectors(), sample_NH)
        one = sample_NH[:1]
        # Like tokens have like means, whatever the groups.
        torch.testing.assert_close(short.score(one.repeat(num_tokens, 1)), short.score(one), atol=1e-4, rtol=0)


def test_without_tokens_the_bias_is_the_logit() -> None:
    head, sample_NH = made(HIDDEN, 20, DIRECTIONS)
    with torch.inference_mode():
        vectors = head.label_vectors()
        short = Shortlist(head, vectors, sample_NH)
        torch.testing.assert_close(short.score(sample_NH[:0]), vectors.bias_S)
