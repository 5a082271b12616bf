"""The peers' model: the same trained version run by its plain Hugging Face forward, padded to the longest of a batch.

Tokens, windows, label attention, lexical match, calibration and the words of a span are those of ``training.model``,
for a peer that answered otherwise would be no peer. The forward is the usual one: eager, one tensor of all notes of
the batch, each padded to as many windows and as wide ones as the longest has. Loading it imports nothing of Triton.

Shapes: B notes, W windows of the longest note, T tokens a window, M = W * T, L labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from clinical_coding.bundle import read_bundle, read_labels
from clinical_coding.predictions import MAX_PREDICTED_CODES, PredictedCode
from clinical_coding.records import Note
from training.model.calibration import confidences
from training.model.evidence import find_evidence, words_of_windows
from training.model.head import LabelAttention
from training.model.lexical import LexicalMatch
from training.model.windows import TokenWindows, cut_windows

__all__ = ["PaddedScorer"]


class PaddedScorer:
    """A loaded bundle; called as ``training.model.Scorer`` is."""

    def __init__(self, folder: Path, *, num_threads: int) -> None:
        """Load a bundle.

        Args:
            folder: The bundle directory.
            num_threads: Threads of the forward.
        """
        torch.set_num_threads(num_threads)
        self._bundle, _ = read_bundle(folder)
        self._labels = read_labels(folder)
        self._lexical = LexicalMatch.load(folder / "lexical.safetensors")
        self._tokenizer = AutoTokenizer.from_pretrained(folder / "encoder")
        self._encoder = AutoModel.from_pretrained(folder / "encoder", add_pooling_layer=False).eval()
        state = load_file(folder / "head.safetensors")
        self._head = LabelAttention(
            state["descriptions_LD"],
            hidden_size=len(state["key.weight"]),
            prior_L=torch.full((len(self._labels),), 0.5),
        ).eval()
        self._head.load_state_dict(state)
        self._vectors = self._head.freeze_labels()

    def score(self, documents: Sequence[Sequence[Note]]) -> list[tuple[PredictedCode, ...]]:
        """Score documents in one padded batch; each is the notes of one encounter, which must hold a token."""
        cut = cut_windows(documents, tokenizer=self._tokenizer, windowing=self._bundle.windowing)
        with torch.inference_mode():
            input_ids_BWT, mask_BWT, read_BM = self._pad(cut)
            logits_BL, contribution_BLM = self._forward(input_ids_BWT, mask_BWT, read_BM)
            return [
                self._codes(
                    logits_BL[at].double().numpy(),
                    contribution_LM=contribution_BLM[at][:, read_BM[at]],
                    windows=cut[at],
                    notes=notes,
                )
                for at, notes in enumerate(documents)
            ]

    def _pad(self, cut: Sequence[TokenWindows]) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids [B, W, T], what the encoder attends to, and what the head reads [B, M].

        In a window of padding the encoder attends to the first token, since attention over nothing is not defined.
        """
        num_windows = max(len(windows.input_ids) for windows in cut)
        width = max(len(window) for windows in cut for window in windows.input_ids)
        input_ids_BWT = torch.full((len(cut), num_windows, width), self._tokenizer.pad_token_id)
        mask_BWT, read_BWT = torch.zeros_like(input_ids_BWT), torch.zeros(input_ids_BWT.shape, dtype=torch.bool)
        mask_BWT[:, :, 0] = 1
        for at, windows in enumerate(cut):
            for row, window in enumerate(windows.input_ids):
                input_ids_BWT[at, row, : len(window)] = torch.tensor(window)
                mask_BWT[at, row, : len(window)] = 1
                read_BWT[at, row, 1 : len(window) - 1] = True
        return input_ids_BWT, mask_BWT, read_BWT.flatten(1, 2)

    def _forward(self, input_ids_BWT: Tensor, mask_BWT: Tensor, read_BM: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, L], and what each token adds to each [B, L, M]."""
        hidden = self._encoder(input_ids=input_ids_BWT.flatten(0, 1), attention_mask=mask_BWT.flatten(0, 1))
        hidden_BMH = hidden.last_hidden_state.reshape(*read_BM.shape, -1)
        keys_BMH, values_BMH = self._head.keys_and_values(hidden_BMH)
        scores_BLM = self._vectors.query_SH @ keys_BMH.mT
        attention_BLM = scores_BLM.masked_fill(~read_BM[:, None], -torch.inf).softmax(dim=2)
        contribution_BLM = attention_BLM * (self._vectors.output_SH @ values_BMH.mT)
        return contribution_BLM.sum(dim=2) + self._vectors.bias_S, contribution_BLM

    def _codes(
        self, logits_L: NDArray[Any], *, contribution_LM: Tensor, windows: TokenWindows, notes: Sequence[Note]
    ) -> tuple[PredictedCode, ...]:
        shares_L = self._lexical.match(self._lexical.read([note.text for note in notes]), None)
        confidence_L = confidences(logits_L, shares_L, self._bundle.calibration)
        word_of_token, words = words_of_windows(windows, notes)
        codes = []
        for label in np.argsort(-confidence_L, kind="stable")[:MAX_PREDICTED_CODES].tolist():
            suggested = bool(confidence_L[label] >= self._bundle.threshold)
            row = contribution_LM[label].double().numpy() if suggested else None
            codes.append(
                PredictedCode(
                    system=self._labels[label].system,
                    code=self._labels[label].code,
                    confidence=float(confidence_L[label]),
                    suggested=suggested,
                    evidence=()
                    if row is None
                    else find_evidence(row, word_of_token=word_of_token, words=words, notes=notes),
                )
            )
        return tuple(codes)
