"""The peer: sentence-transformers runs the same encoder over the same windows, in its own batches.

``SentenceTransformer.encode`` sorts the windows by length, pads each batch to its longest and gives every window's
token states. It is handed token ids, as ours is, so neither side's time holds a tokenizer; and PyTorch's attention,
which is what it uses where the package flash-attn is not installed.

Shapes: W windows, T tokens a window, H hidden size.
"""

import importlib.util
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from scripts.model_benchmark.shapes import PAD
from training.model.encoder import encode

__all__ = ["BATCH_WINDOWS", "SortedBatches", "is_installed"]

BATCH_WINDOWS: Final = 32
"""Its default."""


def is_installed() -> bool:
    """Whether the package can be imported."""
    return importlib.util.find_spec("sentence_transformers") is not None


class _FirstModule(nn.Module):
    """What its ``Transformer`` module does, without the tokenizer."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def preprocess(self, inputs: Sequence[str], **_: object) -> dict[str, Tensor]:
        """Pad windows to the longest; each is a text whose characters are its tokens."""
        windows = [
            torch.from_numpy(np.frombuffer(window.encode("utf-32-le"), np.int32).astype(int)) for window in inputs
        ]
        input_ids_WT = nn.utils.rnn.pad_sequence(windows, batch_first=True, padding_value=PAD)
        lengths_W = torch.tensor([len(window) for window in windows])
        mask_WT = (torch.arange(input_ids_WT.shape[1]) < lengths_W[:, None]).long()
        return {"input_ids": input_ids_WT, "attention_mask": mask_WT}

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the states of every token, and a sentence's, whose number older releases count."""
        hidden_WTH = encode(self.encoder, features["input_ids"], features["attention_mask"])
        return features | {"token_embeddings": hidden_WTH, "sentence_embedding": hidden_WTH[:, 0]}


class SortedBatches:
    """An encoder that sentence-transformers runs."""

    def __init__(self, encoder: nn.Module, device: torch.device):
        # Typed packages only: this one is optional, and not read by the type checker.
        package: Any = import_module("sentence_transformers")
        self._model = package.SentenceTransformer(modules=[_FirstModule(encoder)], device=str(device))

    def encode(self, windows: Sequence[Sequence[int]]) -> list[Tensor]:
        """States of each window [T, H], in the order given."""
        texts = ["".join(map(chr, window)) for window in windows]
        found = self._model.encode(texts, batch_size=BATCH_WINDOWS, output_value=None, show_progress_bar=False)
        return [one["token_embeddings"][: len(window)] for one, window in zip(found, windows, strict=True)]
