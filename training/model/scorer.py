"""From text to scored codes: the one forward that Triton, the fallback worker, predict and evaluate all run.

Takes notes, gives ranked codes with calibrated confidence, and evidence for those that are suggested. It
knows nothing of encounters, routes or people.

Shapes: W windows, T tokens a window, M tokens a document, L labels, S suggested labels, H hidden size.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from accelerate.utils.memory import should_reduce_batch_size
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from clinical_coding.bundle import Bundle, read_bundle, read_labels
from clinical_coding.codes import EvidenceSpan
from clinical_coding.predictions import MAX_PREDICTED_CODES, PredictedCode
from clinical_coding.records import Note
from training.model.calibration import confidences
from training.model.coding_model import encode_packed
from training.model.encoder import load_encoder, load_tokenizer
from training.model.evidence import find_evidence, words_of_windows
from training.model.freed_memory import return_free_memory
from training.model.head import LabelAttention
from training.model.lexical import LexicalMatch
from training.model.openvino_encoder import faster_on_cpu
from training.model.packing import (
    CPU_STACK_TOKENS,
    MAX_ROW_TOKENS,
    MAX_STACK_TOKENS,
    MAX_TOKENS_A_PASS,
    group_by_tokens,
    pack_windows,
)
from training.model.shortlist import MAX_LABELS_IN_FULL, NUM_SHORTLISTED, Shortlist
from training.model.varlen import reads_flat_rows
from training.model.windows import TokenWindows, cut_windows

__all__ = ["Scorer"]

logger = logging.getLogger(__name__)

_LEAST_STACK_TOKENS = 256
"""Memory that does not suffice for so many tokens does not suffice."""
_SAMPLE_LABELS = 512
"""Labels whose descriptions show the shortlist what hidden states are like."""
_DOCUMENTS_A_CHUNK = 32
_CHUNKS_AHEAD = 4
"""Read while others are encoded: a pass over notes of usual length takes two."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is known of a document before it is encoded."""

    windows: TokenWindows
    held_SF: sp.csr_matrix
    """See ``LexicalMatch.read``."""


class Scorer:
    """A loaded model bundle."""

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "cpu",
        num_threads: int | None = None,
        max_labels_in_full: int = MAX_LABELS_IN_FULL,
    ):
        """Verify and load a bundle.

        Args:
            folder: The bundle directory.
            device: Torch device; on a GPU the encoder runs in bfloat16, the head in float32.
            num_threads: Threads of the CPU forward; None leaves torch's own choice.
            max_labels_in_full: A larger label space is scored in two stages, full label attention for those labels
                alone that a cheap approximation ranks first; sys.maxsize scores every one in full.

        Raises:
            ValueError: The bundle is missing, malformed or changed.
        """
        self.bundle: Bundle
        self.bundle, self.bundle_sha256 = read_bundle(folder)
        self.labels = read_labels(folder)
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self._device = torch.device(device)
        # Where the encoder itself needs the cores, a thread beside it costs a tenth of the time.
        self._reads_ahead = self._device.type != "cpu"
        is_large = len(self.labels) > max(max_labels_in_full, NUM_SHORTLISTED)
        # What needs most room while it is made comes first: terms, then the head.
        self._lexical = LexicalMatch.load(folder / "lexical.safetensors")
        if is_large:
            self._lexical.prepare_rough_match()
        state = load_file(folder / "head.safetensors")
        hidden_size = len(state["key.weight"])
        with torch.device("meta"):
            descriptions_LD = torch.empty_like(state["descriptions_LD"], device="meta")
            prior_L = torch.full((len(self.labels),), 0.5)
            self._head = LabelAttention(descriptions_LD, hidden_size=hidden_size, prior_L=prior_L)
        self._head.load_state_dict(state, assign=True)
        del state
        self._head.to(self._device).eval()
        self._vectors = self._head.freeze_labels()
        self._tokenizer = load_tokenizer(folder / "encoder")
        # The tokenizer itself may be busy in another thread.
        self._pad_token_id: int = self._tokenizer.pad_token_id
        dtype = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        encoder = load_encoder(folder / "encoder", dtype=dtype).to(self._device).eval()
        with torch.inference_mode():
            self._is_flat = reads_flat_rows(encoder)
        self._max_stack_tokens = MAX_ROW_TOKENS if self._is_flat else MAX_STACK_TOKENS
        self._encoder: nn.Module = encoder
        if self._device.type == "cpu" and not self._is_flat:
            self._encoder = faster_on_cpu(encoder)
            self._max_stack_tokens = CPU_STACK_TOKENS
        with torch.inference_mode():
            self._shortlist = None
            if is_large:
                self._shortlist = Shortlist(self._head, self._vectors, self._sample())
        return_free_memory()

    def score(self, documents: Sequence[Sequence[Note]]) -> list[tuple[PredictedCode, ...]]:
        """Score documents; each is the notes of one encounter.

        Args:
            documents: Any number; they are encoded together.

        Returns:
            For each document up to 100 codes by falling confidence, evidence on the suggested ones.
        """
        results: list[tuple[PredictedCode, ...]] = [()] * len(documents)
        readings = list[_Reading]()

        def windows() -> Iterator[TokenWindows]:
            for reading in self._read_ahead(documents):
                readings.append(reading)
                yield reading.windows

        with torch.inference_mode():
            for document, hidden_MH in self._encode(windows()):
                results[document] = self._score_document(hidden_MH, readings[document], documents[document])
        return results

    def _read_ahead(self, documents: Sequence[Sequence[Note]]) -> Iterator[_Reading]:
        """Read documents in order; for a GPU the next ones in a thread of its own, while it encodes the last."""
        firsts = range(0, len(documents), _DOCUMENTS_A_CHUNK)
        chunks = (documents[first : first + _DOCUMENTS_A_CHUNK] for first in firsts)
        if not self._reads_ahead:
            for chunk in chunks:
                yield from self._read(chunk)
            return
        ahead = deque[Future[list[_Reading]]]()
        with ThreadPoolExecutor(max_workers=1) as thread:
            for chunk in chunks:
                ahead.append(thread.submit(self._read, chunk))
                if len(ahead) > _CHUNKS_AHEAD:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()

    def _read(self, documents: Sequence[Sequence[Note]]) -> list[_Reading]:
        cut = cut_windows(documents, tokenizer=self._tokenizer, windowing=self.bundle.windowing)
        return [
            _Reading(windows, self._lexical.read([note.text for note in notes]))
            for windows, notes in zip(cut, documents, strict=True)
        ]

    def _encode(self, windows: Iterable[TokenWindows]) -> Iterator[tuple[int, Tensor]]:
        """Hidden states [M, H] of each document, windows of many documents side by side."""
        cut = list[TokenWindows]()

        def lengths() -> Iterator[int]:
            for one in windows:
                cut.append(one)
                yield one.num_tokens

        for group in group_by_tokens(lengths(), max_tokens=MAX_TOKENS_A_PASS):
            read = [document for document in group if cut[document].input_ids]
            if read:
                hidden_NH = self._encode_together([cut[at].input_ids for at in read])
                yield from zip(read, torch.split(hidden_NH, [cut[at].num_tokens for at in read]), strict=True)

    def _encode_together(self, windows: Sequence[Sequence[Sequence[int]]]) -> Tensor:
        """Hidden states [N, H]; where memory does not suffice, in smaller stacks from then on."""
        while True:
            packed = pack_windows(
                windows,
                pad_token_id=self._pad_token_id,
                flat=self._is_flat,
                max_stack_tokens=self._max_stack_tokens,
            )
            try:
                return encode_packed(self._encoder, packed.to(self._device)).float()
            except RuntimeError as error:
                if not should_reduce_batch_size(error) or self._max_stack_tokens <= _LEAST_STACK_TOKENS:
                    raise
            self._max_stack_tokens //= 2
            logger.warning("out of memory: the encoder now reads at most %d tokens at once", self._max_stack_tokens)

    def _sample(self) -> Tensor:
        """Hidden states [N, H] of some labels' descriptions."""
        every = max(len(self.labels) // _SAMPLE_LABELS, 1)
        texts = [label.description for label in self.labels[::every] if label.description]
        notes = [[Note(note_id="sample", text=text)] for text in texts]
        cut = cut_windows(notes, tokenizer=self._tokenizer, windowing=self.bundle.windowing)
        return torch.cat([hidden_MH for _, hidden_MH in self._encode(cut)])

    def _confidences(self, hidden_MH: Tensor, held_SF: sp.csr_matrix) -> tuple[NDArray[Any], NDArray[Any]]:
        """Labels in ascending order, all or the shortlisted, and the confidence of each."""
        labels, vectors = None, self._vectors
        if self._shortlist is not None:
            rough_L = confidences(
                self._shortlist.score(hidden_MH).double().cpu().numpy(),
                self._lexical.match_roughly(held_SF),
                self.bundle.calibration,
            )
            labels = np.sort(np.argpartition(-rough_L, NUM_SHORTLISTED)[:NUM_SHORTLISTED])
            vectors = self._vectors.take(torch.from_numpy(labels).to(self._device))
        logits_S = self._head.score(hidden_MH, vectors).double().cpu().numpy()
        confidence_S = confidences(logits_S, self._lexical.match(held_SF, labels), self.bundle.calibration)
        return np.arange(len(self.labels)) if labels is None else labels, confidence_S

    def _score_document(self, hidden_MH: Tensor, reading: _Reading, notes: Sequence[Note]) -> tuple[PredictedCode, ...]:
        label_S, confidence_S = self._confidences(hidden_MH, reading.held_SF)
        # A stable sort: labels of equal confidence keep the label space's order everywhere.
        best = np.argsort(-confidence_S, kind="stable")[:MAX_PREDICTED_CODES]
        ranked, confidence = label_S[best], confidence_S[best]
        is_suggested = confidence >= self.bundle.threshold
        evidence = self._evidence(hidden_MH, ranked[is_suggested], reading.windows, notes)
        return tuple(
            PredictedCode(
                system=self.labels[label].system,
                code=self.labels[label].code,
                confidence=float(confidence[at]),
                suggested=bool(is_suggested[at]),
                evidence=evidence.get(label, ()),
            )
            for at, label in enumerate(ranked.tolist())
        )

    def _evidence(
        self, hidden_MH: Tensor, labels: NDArray[Any], windows: TokenWindows, notes: Sequence[Note]
    ) -> dict[int, tuple[EvidenceSpan, ...]]:
        if not len(labels):
            return {}
        word_of_token, words = words_of_windows(windows, notes)
        vectors = self._vectors.take(torch.from_numpy(labels).to(self._device))
        _, attention_SM, value_SM = self._head.attend(hidden_MH, [len(hidden_MH)], vectors)
        rows = (attention_SM * value_SM).double().cpu().numpy()
        return {
            int(label): find_evidence(row, word_of_token=word_of_token, words=words, notes=notes)
            for label, row in zip(labels, rows, strict=True)
        }
