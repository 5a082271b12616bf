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
from training.model.coding_model import encode_packed
from training.model.encoder import load_encoder, load_tokenizer
from training.model.evidence import find_evidence, words_of_windows
from training.model.head import LabelAttention, LabelVectors
from training.model.lexical import LexicalMatch
from training.model.packing import MAX_TOKENS_A_PASS, group_by_tokens, pack_windows
from training.model.windows import TokenWindows, cut_windows

__all__ = ["Scorer"]

_MAX_LABELS_A_PASS = 2**14


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
        for group in group_by_tokens([one.num_tokens for one in cut], max_tokens=MAX_TOKENS_A_PASS):
            read = [document for document in group if cut[document].input_ids]
            if read:
                packed = pack_windows([cut[at].input_ids for at in read], pad_token_id=self._tokenizer.pad_token_id)
                hidden_NH = encode_packed(self._encoder, packed.to(self._device))
                yield from zip(read, torch.split(hidden_NH, list(packed.lengths)), strict=True)

    def _label_vectors(self, labels: Tensor | slice) -> LabelVectors:
        vectors = self._vectors
        return LabelVectors(vectors.query_SH[labels], vectors.output_SH[labels], vectors.bias_S[labels])

    def _confidences(self, hidden_MH: Tensor, texts: Sequence[str]) -> NDArray[Any]:
        firsts = range(0, len(self.labels), _MAX_LABELS_A_PASS)
        parts = (slice(first, first + _MAX_LABELS_A_PASS) for first in firsts)
        logits_L = torch.cat([self._head.score(hidden_MH, self._label_vectors(part)) for part in parts])
        share_L, _, _ = self._lexical.match(texts)
        return confidences(logits_L.double().cpu().numpy(), share_L, self.bundle.calibration)

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
        vectors = self._label_vectors(torch.from_numpy(labels).to(self._device))
        _, attention_SM, value_SM = self._head.attend(hidden_MH, [len(hidden_MH)], vectors)
        rows = (attention_SM * value_SM).double().cpu().numpy()
        return {
            int(label): find_evidence(row, word_of_token=word_of_token, words=words, notes=notes)
            for label, row in zip(labels, rows, strict=True)
        }
