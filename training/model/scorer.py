"""From text to scored codes: the one forward that Triton, the fallback worker, predict and evaluate all run.

Takes notes, gives ranked codes with calibrated confidence, and evidence for those that are suggested. It
knows nothing of encounters, routes or people.

Shapes: W windows, T tokens a window, M tokens a document, L labels, S suggested labels, H hidden size.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from clinical_coding.bundle import Bundle, read_bundle, read_labels
from clinical_coding.codes import EvidenceSpan
from clinical_coding.predictions import MAX_PREDICTED_CODES, PredictedCode
from clinical_coding.records import Note
from training.model.calibration import confidences
from training.model.coding_model import stack_windows
from training.model.encoder import encode, load_encoder, load_tokenizer
from training.model.evidence import find_evidence, words_of_windows
from training.model.head import LabelAttention, LabelVectors
from training.model.lexical import LexicalMatch
from training.model.windows import TokenWindows, cut_windows

__all__ = ["Scorer"]

_MAX_WINDOWS_A_PASS = 64
_MAX_SCORES = 2**24
"""Token-label pairs held at once; a longer document takes its labels in several parts."""


class Scorer:
    """A loaded model bundle."""

    def __init__(self, folder: Path, *, device: str = "cpu", num_threads: int | None = None):
        """Verify and load a bundle.

        Args:
            folder: The bundle directory.
            device: Torch device.
            num_threads: Threads of the CPU forward; None leaves torch's own choice.

        Raises:
            ValueError: The bundle is missing, malformed or changed.
        """
        self.bundle: Bundle
        self.bundle, self.bundle_sha256 = read_bundle(folder)
        self.labels = read_labels(folder)
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self._device = torch.device(device)
        self._tokenizer = load_tokenizer(folder / "encoder")
        self._encoder = load_encoder(folder / "encoder").to(self._device).eval()
        self._lexical = LexicalMatch.load(folder / "lexical.safetensors")
        state = load_file(folder / "head.safetensors")
        num_labels = len(self.labels)
        hidden_size = self._encoder.config.hidden_size
        self._head = LabelAttention(
            state["descriptions_LD"], hidden_size=hidden_size, prior_L=torch.full((num_labels,), 0.5)
        )
        self._head.load_state_dict(state)
        self._head.to(self._device).eval()
        with torch.inference_mode():
            self._vectors = self._head.label_vectors()

    def score(self, documents: Sequence[Sequence[Note]]) -> list[tuple[PredictedCode, ...]]:
        """Score documents; each is the notes of one encounter.

        Args:
            documents: Any number; they are encoded together.

        Returns:
            For each document up to 100 codes by falling confidence, evidence on the suggested ones.
        """
        cut = cut_windows(documents, tokenizer=self._tokenizer, windowing=self.bundle.windowing)
        results: list[tuple[PredictedCode, ...]] = [()] * len(documents)
        with torch.inference_mode():
            for document, hidden_MH in self._encode(cut):
                results[document] = self._score_document(hidden_MH, cut[document], documents[document])
        return results

    def _encode(self, cut: Sequence[TokenWindows]) -> Iterator[tuple[int, Tensor]]:
        """Hidden states [M, H] of each document, windows of many documents side by side."""
        windows = [(document, window) for document, one in enumerate(cut) for window in one.input_ids]
        pending: dict[int, list[Tensor]] = {document: [] for document, one in enumerate(cut) if one.input_ids}
        for first in range(0, len(windows), _MAX_WINDOWS_A_PASS):
            chosen = windows[first : first + _MAX_WINDOWS_A_PASS]
            stacked = stack_windows([[ids] for _, ids in chosen], pad_token_id=self._tokenizer.pad_token_id)
            stacked = stacked.to(self._device)
            hidden_WTH = encode(self._encoder, stacked.input_ids_WT, stacked.mask_WT)
            for (document, ids), hidden_TH in zip(chosen, hidden_WTH, strict=True):
                pending[document].append(hidden_TH[1 : len(ids) - 1])
                if len(pending[document]) == len(cut[document].input_ids):
                    yield document, torch.cat(pending.pop(document))

    def _attend(self, hidden_MH: Tensor, labels: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Logits and contributions [M, S] of some labels."""
        vectors = LabelVectors(
            self._vectors.query_SH[labels], self._vectors.output_SH[labels], self._vectors.bias_S[labels]
        )
        mask_BM = torch.ones(1, len(hidden_MH), dtype=torch.bool, device=self._device)
        logits_BS, attention_BMS, value_BMS = self._head.attend(hidden_MH.unsqueeze(0), mask_BM, vectors)
        return logits_BS[0], (attention_BMS * value_BMS)[0]

    def _confidences(self, hidden_MH: Tensor, texts: Sequence[str]) -> NDArray[Any]:
        part = max(_MAX_SCORES // len(hidden_MH), 1)
        parts = [self._attend(hidden_MH, slice(first, first + part))[0] for first in range(0, len(self.labels), part)]
        logits_L = torch.cat(parts).double().cpu().numpy()
        share_L, _, _ = self._lexical.match(texts)
        return confidences(logits_L, share_L, self.bundle.calibration)

    def _score_document(
        self, hidden_MH: Tensor, windows: TokenWindows, notes: Sequence[Note]
    ) -> tuple[PredictedCode, ...]:
        confidence_L = self._confidences(hidden_MH, [note.text for note in notes])
        # A stable sort: labels of equal confidence keep the label space's order everywhere.
        ranked = np.argsort(-confidence_L, kind="stable")[:MAX_PREDICTED_CODES]
        suggested = ranked[confidence_L[ranked] >= self.bundle.threshold]
        evidence = self._evidence(hidden_MH, suggested, windows, notes)
        return tuple(
            PredictedCode(
                system=self.labels[label].system,
                code=self.labels[label].code,
                confidence=float(confidence_L[label]),
                suggested=bool(confidence_L[label] >= self.bundle.threshold),
                evidence=evidence.get(label, ()),
            )
            for label in ranked.tolist()
        )

    def _evidence(
        self, hidden_MH: Tensor, labels: NDArray[Any], windows: TokenWindows, notes: Sequence[Note]
    ) -> dict[int, tuple[EvidenceSpan, ...]]:
        if not len(labels):
            return {}
        word_of_token, words = words_of_windows(windows, notes)
        _, contribution_MS = self._attend(hidden_MH, torch.from_numpy(labels).to(self._device))
        columns = contribution_MS.double().cpu().numpy().T
        return {
            int(label): find_evidence(column, word_of_token=word_of_token, words=words, notes=notes)
            for label, column in zip(labels, columns, strict=True)
        }
