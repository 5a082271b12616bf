"""From text to scored codes: the one forward that Triton, the fallback worker, predict and evaluate all run.

Takes notes, gives ranked codes with calibrated confidence, and evidence for those that are suggested. It
knows nothing of encounters, routes or people.

Shapes: W windows, T tokens a window, M tokens a document, L labels, S suggested labels, H hidden size.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
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
from training.model.reading import DocumentReader, Reading
from training.model.shortlist import MAX_LABELS_IN_FULL, NUM_SHORTLISTED, Shortlist
from training.model.varlen import reads_flat_rows
from training.model.windows import TokenWindows, cut_windows

__all__ = ["ScoredPass", "Scorer"]

logger = logging.getLogger(__name__)

_LEAST_STACK_TOKENS = 256
"""Memory that does not suffice for so many tokens does not suffice."""
_SAMPLE_LABELS = 512
"""Labels whose descriptions show the shortlist what hidden states are like."""


@dataclass(frozen=True, slots=True)
class ScoredPass:
    """Documents that went through the encoder together, and what they took."""

    documents: tuple[int, ...]
    """Their positions."""
    codes: tuple[tuple[PredictedCode, ...], ...]
    """Of each, as of ``Scorer.score``."""
    read_seconds: float
    """All documents so far were tokenised, cut into windows, matched with terms."""
    scored_seconds: float
    """These ones went through encoder and label attention."""
    num_tokens: int
    """That the encoder had to read: special ones included, padding left out."""
    num_computed_tokens: int
    """That it did read, padding included."""
    document_tokens: tuple[int, ...]
    """Of each document's notes, special ones left out."""


class Scorer:
    """A loaded model bundle."""

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "cpu",
        num_threads: int | None = None,
        max_labels_in_full: int = MAX_LABELS_IN_FULL,
        max_tokens_a_pass: int = MAX_TOKENS_A_PASS,
    ):
        """Verify and load a bundle.

        Args:
            folder: The bundle directory.
            device: Torch device; on a GPU the encoder runs in bfloat16, the head in float32.
            num_threads: Threads of the CPU forward; None leaves torch's own choice.
            max_labels_in_full: A larger label space is scored in two stages, full label attention for those labels
                alone that a cheap approximation ranks first; sys.maxsize scores every one in full.
            max_tokens_a_pass: Tokens that are encoded together; a longer document is encoded alone.

        Raises:
            ValueError: The bundle is missing, malformed or changed.
        """
        self.bundle: Bundle
        self.bundle, self.bundle_sha256 = read_bundle(folder)
        self.labels = read_labels(folder)
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self._device = torch.device(device)
        self._max_tokens_a_pass = max_tokens_a_pass
        is_large = len(self.labels) > max(max_labels_in_full, NUM_SHORTLISTED)
        # What needs most room while it is made comes first: terms, then the head.
        self._lexical = LexicalMatch.load(folder / "lexical.safetensors")
        if is_large:
            self._lexical.prepare_rough_match()
        state = load_file(folder / "head.safetensors")
        self._hidden_size = len(state["key.weight"])
        with torch.device("meta"):
            descriptions_LD = torch.empty_like(state["descriptions_LD"], device="meta")
            prior_L = torch.full((len(self.labels),), 0.5)
            self._head = LabelAttention(descriptions_LD, hidden_size=self._hidden_size, prior_L=prior_L)
        self._head.load_state_dict(state, assign=True)
        del state
        self._head.to(self._device).eval()
        self._vectors = self._head.freeze_labels()
        self._tokenizer = load_tokenizer(folder / "encoder")
        # The tokenizer itself may be busy in another thread.
        self._pad_token_id: int = self._tokenizer.pad_token_id
        # Where the encoder itself needs the cores, a thread beside it costs a tenth of the time.
        self._reader = DocumentReader(
            self._tokenizer, self.bundle.windowing, self._lexical, reads_ahead=self._device.type != "cpu"
        )
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
        for scored in self.score_passes(documents):
            for document, codes in zip(scored.documents, scored.codes, strict=True):
                results[document] = codes
        return results

    def score_passes(
        self, documents: Sequence[Sequence[Note]], *, is_wanted: Callable[[int], bool] | None = None
    ) -> Iterator[ScoredPass]:
        """Score documents in their order, and give each pass through the encoder as soon as it is done.

        Args:
            documents: Any number; as many as a pass holds are encoded together.
            is_wanted: Asked of each position before its pass begins; what nobody wants any more is left out.
        """
        readings = list[Reading]()
        before_seconds = self._reader.seconds

        def lengths() -> Iterator[int]:
            for reading in self._reader.read(documents):
                readings.append(reading)
                yield reading.windows.num_tokens

        for group in group_by_tokens(lengths(), max_tokens=self._max_tokens_a_pass):
            wanted = [at for at in group if is_wanted is None or is_wanted(at)]
            if not wanted:
                continue
            started = time.perf_counter()
            # Not held while the caller has the word, who may do other things with torch.
            with torch.inference_mode():
                windows = [readings[at].windows for at in wanted]
                hidden, num_computed_tokens = self._encode(windows)
                codes = tuple(
                    self._score_document(hidden_MH, readings[at], documents[at]) if len(hidden_MH) else ()
                    for at, hidden_MH in zip(wanted, hidden, strict=True)
                )
            yield ScoredPass(
                documents=tuple(wanted),
                codes=codes,
                read_seconds=self._reader.seconds - before_seconds,
                scored_seconds=time.perf_counter() - started,
                document_tokens=tuple(one.num_tokens for one in windows),
                num_tokens=sum(len(ids) for one in windows for ids in one.input_ids),
                num_computed_tokens=num_computed_tokens,
            )

    def _encode(self, windows: Sequence[TokenWindows]) -> tuple[tuple[Tensor, ...], int]:
        """Hidden states [M, H] of each document, and the tokens computed; memory too small makes stacks smaller."""
        while True:
            packed = pack_windows(
                [one.input_ids for one in windows],
                pad_token_id=self._pad_token_id,
                flat=self._is_flat,
                max_stack_tokens=self._max_stack_tokens,
            )
            if not packed.stacks:
                return tuple(torch.zeros(0, self._hidden_size) for _ in windows), 0
            try:
                hidden_NH = encode_packed(self._encoder, packed.to(self._device)).float()
            except RuntimeError as error:
                if not should_reduce_batch_size(error) or self._max_stack_tokens <= _LEAST_STACK_TOKENS:
                    raise
            else:
                return torch.split(hidden_NH, list(packed.lengths)), packed.num_computed_tokens
            self._max_stack_tokens //= 2
            logger.warning("out of memory: the encoder now reads at most %d tokens at once", self._max_stack_tokens)

    def _sample(self) -> Tensor:
        """Hidden states [N, H] of some labels' descriptions."""
        every = max(len(self.labels) // _SAMPLE_LABELS, 1)
        texts = [label.description for label in self.labels[::every] if label.description]
        notes = [[Note(note_id="sample", text=text)] for text in texts]
        cut = cut_windows(notes, tokenizer=self._tokenizer, windowing=self.bundle.windowing)
        return torch.cat(self._encode(cut)[0])

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

    def _score_document(self, hidden_MH: Tensor, reading: Reading, notes: Sequence[Note]) -> tuple[PredictedCode, ...]:
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
