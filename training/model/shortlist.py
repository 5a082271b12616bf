"""Which labels are worth full label attention: approximate logits of a large label space at a small share of the cost.

Takes hidden states of a record, gives one approximate logit a label. Queries and keys, outputs and values are
replaced by a few numbers each, chosen so that their products change least, and neighbouring tokens are read as one.

Source: late interaction in few dimensions, Santhanam et al. 2022 (PLAID, arXiv:2205.09707), with the projection of a
weighted singular value decomposition, Hsu et al. 2022 (arXiv:2207.00112).

Shapes: L labels, H hidden size, P kept dimensions, N tokens of all sample texts, M tokens of one record.
"""

from typing import Final

import torch
from torch import Tensor, nn

from training.model.head import LabelAttention, LabelVectors

__all__ = ["DIMENSIONS", "MAX_LABELS_IN_FULL", "NUM_SHORTLISTED", "Shortlist"]

MAX_LABELS_IN_FULL: Final = 4096
"""A larger label space is scored in two stages."""
NUM_SHORTLISTED: Final = 2560
"""Labels that the first stage leaves to the second."""

DIMENSIONS: Final = 32
"""In which the first stage compares labels and tokens."""
_TOKENS_READ_AS_ONE: Final = 4


class Shortlist:
    """Label vectors in few dimensions."""

    def __init__(self, head: LabelAttention, vectors: LabelVectors, sample_NH: Tensor):
        """Choose the dimensions.

        Args:
            head: The trained head.
            vectors: Of every label.
            sample_NH: Hidden states of texts like those to come; they say which directions matter.
        """
        self._head = head
        keys_NH, values_NH = head.keys_and_values(sample_NH)
        self._query_LP, self._key_HP = _in_few_dimensions(vectors.query_SH, keys_NH)
        self._output_LP, self._value_HP = _in_few_dimensions(vectors.output_SH, values_NH)
        self._bias_L = vectors.bias_S

    def score(self, hidden_MH: Tensor) -> Tensor:
        """Approximate logits [L] of one record."""
        if not len(hidden_MH):
            return self._bias_L.float()
        keys_MH, values_MH = self._head.keys_and_values(hidden_MH)
        keys_MP, values_MP = _means(keys_MH @ self._key_HP), _means(values_MH @ self._value_HP)
        query, keys, values = (part[None, None] for part in (self._query_LP, keys_MP, values_MP))
        read_LP = nn.functional.scaled_dot_product_attention(query, keys, values, scale=1.0)[0, 0]
        return (read_LP * self._output_LP).sum(dim=1).float() + self._bias_L.float()


def _means(states_MP: Tensor) -> Tensor:
    """Means of neighbouring tokens, those of a shorter last group included."""
    whole = len(states_MP) // _TOKENS_READ_AS_ONE * _TOKENS_READ_AS_ONE
    means = states_MP[:whole].view(-1, _TOKENS_READ_AS_ONE, states_MP.shape[1]).mean(dim=1)
    rest = states_MP[whole:].mean(dim=0, keepdim=True) if whole < len(states_MP) else states_MP[:0]
    return torch.cat([means, rest])


def _in_few_dimensions(labels_LH: Tensor, tokens_NH: Tensor) -> tuple[Tensor, Tensor]:
    """Factors [L, P] and [H, P] with labels @ tokens.T ~ left @ (tokens @ right).T, least squares over the tokens."""
    tokens_NH = tokens_NH.double()
    variance_H, axes_HH = torch.linalg.eigh(tokens_NH.T @ tokens_NH / len(tokens_NH))
    # Directions that the sample hardly shows may still occur.
    scale_H = variance_H.clamp(min=float(variance_H.mean()) * 1e-3).sqrt()
    scaled_HH = axes_HH * scale_H
    # Label by label in double precision would be the largest thing in memory.
    _, directions_HH = torch.linalg.eigh(scaled_HH.T @ (labels_LH.T @ labels_LH).double() @ scaled_HH)
    kept_HP = directions_HH[:, -DIMENSIONS:]
    right_HP = (axes_HH / scale_H) @ kept_HP
    return labels_LH @ (scaled_HH @ kept_HP).to(labels_LH.dtype), right_HP.to(labels_LH.dtype)
