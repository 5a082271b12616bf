"""The peer: the same encoder and head as they are usually run, each note padded to the longest of its batch.

Shapes: B notes, W windows of the longest note, T tokens a window, M = W * T, S scored labels, H hidden size.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from scripts.model_benchmark.shapes import PAD
from training.model.encoder import encode
from training.model.head import LabelAttention, LabelVectors
from training.step import code_loss

__all__ = ["PaddedCodingModel", "pad_notes"]


def pad_notes(notes: Sequence[Sequence[Sequence[int]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Pad notes to the longest, windows to the longest.

    Returns:
        token ids [B, W, T]; what the encoder attends to [B, W, T], in a window of padding its first token, since
        attention over nothing is not defined; and what the head reads [B, W * T], special tokens left out.
    """
    num_windows, width = max(map(len, notes)), max(len(window) for note in notes for window in note)
    input_ids_BWT = torch.full((len(notes), num_windows, width), PAD)
    mask_BWT, read_BWT = torch.zeros_like(input_ids_BWT), torch.zeros(input_ids_BWT.shape, dtype=torch.bool)
    mask_BWT[:, :, 0] = 1
    for at, note in enumerate(notes):
        for row, window in enumerate(note):
            input_ids_BWT[at, row, : len(window)] = torch.tensor(window)
            mask_BWT[at, row, : len(window)] = 1
            read_BWT[at, row, 1 : len(window) - 1] = True
    return input_ids_BWT, mask_BWT, read_BWT.flatten(1, 2)


class PaddedCodingModel(nn.Module):
    """Encoder and label attention over padded notes; the loss is that of ``training.step``."""

    def __init__(self, encoder: nn.Module, head: LabelAttention):
        super().__init__()
        self.encoder = encoder
        # The same weights; but Trainer clips no sparse gradients, and takes its AdamW over whole tables.
        self.head = deepcopy(head, {id(tensor): tensor for tensor in (*head.parameters(), *head.buffers())})
        for table in self.head.modules():
            if isinstance(table, nn.Embedding):
                table.sparse = False

    def logits(self, input_ids_BWT: Tensor, mask_BWT: Tensor, read_BM: Tensor, vectors: LabelVectors) -> Tensor:
        """Logits [B, S] of the labels whose vectors are given."""
        hidden = encode(self.encoder, input_ids_BWT.flatten(0, 1), mask_BWT.flatten(0, 1))
        hidden_BMH = hidden.reshape(*read_BM.shape, -1)
        scores_BSM = (vectors.query_SH @ torch.tanh(self.head.key(hidden_BMH)).mT).float()
        attention_BSM = scores_BSM.masked_fill(~read_BM[:, None], -torch.inf).softmax(dim=2)
        value_BSM = (vectors.output_SH @ self.head.value(hidden_BMH).mT).float()
        logits_BS: Tensor = (attention_BSM * value_BSM).sum(dim=2) + vectors.bias_S.float()
        return logits_BS

    def forward(
        self,
        input_ids_BWT: Tensor,
        mask_BWT: Tensor,
        read_BM: Tensor,
        labels_S: Tensor,
        targets_BS: Tensor,
        weights_BS: Tensor,
    ) -> dict[str, Tensor]:
        """The loss, as transformers.Trainer asks for it."""
        logits_BS = self.logits(input_ids_BWT, mask_BWT, read_BM, self.head.label_vectors(labels_S))
        # The Trainer expects the mean.
        return {"loss": code_loss(logits_BS, targets_BS, weights_BS) / len(logits_BS)}
