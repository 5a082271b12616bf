"""Label attention: every label reads the whole record and answers with one logit.

Takes hidden states of a record's tokens, gives logits and, for each label, how much each token
contributed. Queries and output vectors start from the embedding of the code's description, so a
label without training examples is still scored by what its words mean.

Source: label attention, Mullenbach et al. 2018 (CAML, doi:10.18653/v1/N18-1100), on a transformer as in
Huang et al. 2022 (PLM-ICD, arXiv:2207.05289). Since each logit is sum_m attention_m * (value_m . output),
attention times its gradient is exactly the token's share of the logit.

Shapes: B records, N tokens of all records, M tokens of one, H hidden size, D description embedding size, S scored
labels, L all labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

__all__ = ["LEAST_PRIOR", "LabelAttention", "LabelVectors"]

LEAST_PRIOR: Final = 1e-4
"""Share of records that a label is taken to have which no record carries."""
_LABELS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class LabelVectors:
    """What the head knows of some labels."""

    query_SH: Tensor
    output_SH: Tensor
    bias_S: Tensor

    def take(self, labels: Tensor) -> "LabelVectors":
        """Those of some labels, by index."""
        return LabelVectors(self.query_SH[labels], self.output_SH[labels], self.bias_S[labels])


class LabelAttention(nn.Module):
    """One attention query and one output vector a label, over all tokens of a record."""

    descriptions_LD: Tensor

    def __init__(self, descriptions_LD: Tensor, *, hidden_size: int, prior_L: Tensor):
        """Start from what the labels' descriptions mean.

        Args:
            descriptions_LD: Unit-length embedding of each label's description.
            hidden_size: Of the encoder.
            prior_L: Share of training records that carry each label; sets the first bias.
        """
        super().__init__()
        num_labels, description_size = descriptions_LD.shape
        self.register_buffer("descriptions_LD", descriptions_LD)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.query = nn.Linear(description_size, hidden_size)
        self.output = nn.Linear(description_size, hidden_size)
        # Sparse: a step's gradient holds the rows of the labels that it scores, however many labels there are.
        self.query_residual = nn.Embedding(num_labels, hidden_size, sparse=True)
        self.output_residual = nn.Embedding(num_labels, hidden_size, sparse=True)
        self.bias = nn.Embedding(num_labels, 1, sparse=True)
        for linear in (self.key, self.query):
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)
        # Unit-length descriptions against layer-normed tokens: this factor makes attention neither flat nor a spike.
        self.query.weight.data.mul_(math.sqrt(hidden_size) / 4)
        nn.init.zeros_(self.query_residual.weight)
        nn.init.zeros_(self.output_residual.weight)
        self.bias.weight.data.copy_(torch.logit(prior_L.clamp(LEAST_PRIOR, 0.5)).unsqueeze(1))

    def label_vectors(self, labels_S: Tensor | None = None) -> LabelVectors:
        """Query, output vector and bias of some labels; of all when None."""
        if labels_S is None:
            descriptions_SD, bias_S1 = self.descriptions_LD, self.bias.weight
            query_residual_SH, output_residual_SH = self.query_residual.weight, self.output_residual.weight
        else:
            descriptions_SD, bias_S1 = self.descriptions_LD[labels_S], self.bias(labels_S)
            query_residual_SH, output_residual_SH = self.query_residual(labels_S), self.output_residual(labels_S)
        return LabelVectors(
            query_SH=self.query(descriptions_SD) + query_residual_SH,
            output_SH=self.output(descriptions_SD) + output_residual_SH,
            bias_S=bias_S1.squeeze(1),
        )

    @torch.no_grad()
    def freeze_labels(self) -> LabelVectors:
        """Query, output vector and bias of every label; what they are made from is freed, so labels train no more."""
        like = self.query_residual.weight
        vectors = LabelVectors(
            query_SH=torch.empty_like(like),
            output_SH=torch.empty_like(like),
            bias_S=self.bias.weight.squeeze(1).clone(),
        )
        # A few at a time: beside what they are made from there is room for little else.
        for labels_S in torch.split(torch.arange(len(like), device=like.device), _LABELS_AT_ONCE):
            some = self.label_vectors(labels_S)
            vectors.query_SH[labels_S], vectors.output_SH[labels_S] = some.query_SH, some.output_SH
        del self.descriptions_LD, self.query, self.output, self.query_residual, self.output_residual, self.bias
        # A loaded file is one block of memory: it is freed when nothing points into it.
        for parameter in self.parameters():
            parameter.data = parameter.data.clone()
        return vectors

    def keys_and_values(self, hidden_NH: Tensor) -> tuple[Tensor, Tensor]:
        """What the labels' queries and outputs meet of each token, both [N, H]."""
        return torch.tanh(self.key(hidden_NH)), self.value(hidden_NH)

    def attend(self, hidden_NH: Tensor, lengths: Sequence[int], vectors: LabelVectors) -> tuple[Tensor, Tensor, Tensor]:
        """Score labels whose vectors are known.

        Args:
            hidden_NH: Encoder output of the tokens, record after record.
            lengths: Tokens of each record; they sum to N.
            vectors: Of the labels to score.

        Returns:
            logits [B, S], attention [S, N], and value [S, N], the logit that a token alone would give.
            attention * value summed over a record's tokens, plus the bias, is the logit; a record without
            tokens gets the bias.
        """
        keys_NH, values_NH = self.keys_and_values(hidden_NH)
        scores_SN = (vectors.query_SH @ keys_NH.T).float()
        attention_SN = torch.cat(
            [scores_SM.softmax(dim=1) for scores_SM in torch.split(scores_SN, list(lengths), dim=1)], dim=1
        )
        value_SN = (vectors.output_SH @ values_NH.T).float()
        contribution_SN = attention_SN * value_SN
        read_BS = torch.stack([part_SM.sum(dim=1) for part_SM in torch.split(contribution_SN, list(lengths), dim=1)])
        return read_BS + vectors.bias_S.float(), attention_SN, value_SN

    def score(self, hidden_MH: Tensor, vectors: LabelVectors) -> Tensor:
        """Logits [S] of one record, as ``attend`` gives them, without what each token adds: in less memory."""
        if not len(hidden_MH):
            return vectors.bias_S.float()
        # The kernel wants a batch and heads in front; scale 1, for the queries learn theirs.
        query, keys, values = (part[None, None] for part in (vectors.query_SH, *self.keys_and_values(hidden_MH)))
        read_SH = nn.functional.scaled_dot_product_attention(query, keys, values, scale=1.0)[0, 0]
        return (read_SH * vectors.output_SH).sum(dim=1).float() + vectors.bias_S.float()

    def forward(
        self, hidden_NH: Tensor, lengths: Sequence[int], labels_S: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score labels given by index, all when None; see ``attend``."""
        return self.attend(hidden_NH, lengths, self.label_vectors(labels_S))
