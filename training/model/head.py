"""Label attention: every label reads the whole record and answers with one logit.

Takes hidden states of a record's tokens, gives logits and, for each label, how much each token
contributed. Queries and output vectors start from the embedding of the code's description, so a
label without training examples is still scored by what its words mean.

Source: label attention, Mullenbach et al. 2018 (CAML, doi:10.18653/v1/N18-1100), on a transformer as in
Huang et al. 2022 (PLM-ICD, arXiv:2207.05289). Since each logit is sum_m attention_m * (value_m . output),
attention times its gradient is exactly the token's share of the logit.

Shapes: B records, M tokens a record, H hidden size, D description embedding size, S scored labels, L all labels.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["LabelAttention", "LabelVectors"]


@dataclass(frozen=True, slots=True)
class LabelVectors:
    """What the head knows of some labels."""

    query_SH: Tensor
    output_SH: Tensor
    bias_S: Tensor


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
        self.query_residual = nn.Embedding(num_labels, hidden_size)
        self.output_residual = nn.Embedding(num_labels, hidden_size)
        self.bias = nn.Embedding(num_labels, 1)
        for linear in (self.key, self.query):
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)
        # Unit-length descriptions against layer-normed tokens: this factor makes attention neither flat nor a spike.
        self.query.weight.data.mul_(math.sqrt(hidden_size) / 4)
        nn.init.zeros_(self.query_residual.weight)
        nn.init.zeros_(self.output_residual.weight)
        self.bias.weight.data.copy_(torch.logit(prior_L.clamp(1e-4, 0.5)).unsqueeze(1))

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

    def attend(self, hidden_BMH: Tensor, mask_BM: Tensor, vectors: LabelVectors) -> tuple[Tensor, Tensor, Tensor]:
        """Score labels whose vectors are known.

        Args:
            hidden_BMH: Encoder output of each record's tokens.
            mask_BM: True where a token is real.
            vectors: Of the labels to score.

        Returns:
            logits [B, S], attention [B, M, S], and value [B, M, S], the logit that a token alone would give.
            attention * value summed over M, plus the bias, is the logit.
        """
        keys_BMH = torch.tanh(self.key(hidden_BMH))
        scores_BMS = (keys_BMH @ vectors.query_SH.T).float()
        # The lowest number instead of infinity, and the mask once more: a record without tokens gets the bias, not NaN.
        lowest = torch.finfo(scores_BMS.dtype).min
        attention_BMS = scores_BMS.masked_fill(~mask_BM.unsqueeze(2), lowest).softmax(dim=1)
        value_BMS = (self.value(hidden_BMH) @ vectors.output_SH.T).float()
        read_BS = (attention_BMS * value_BMS).sum(dim=1) * mask_BM.any(dim=1, keepdim=True)
        logits_BS = read_BS + vectors.bias_S.float()
        return logits_BS, attention_BMS, value_BMS

    def forward(
        self, hidden_BMH: Tensor, mask_BM: Tensor, labels_S: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score labels given by index, all when None; see ``attend``."""
        return self.attend(hidden_BMH, mask_BM, self.label_vectors(labels_S))
