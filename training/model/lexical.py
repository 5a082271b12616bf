"""The lexical match: how much of a code's own words one sentence of the note contains.

Takes note texts, gives for each label a share between 0 and 1 and the sentence that gives it. It has
learned nothing, so it speaks for rare and unseen codes where the trained logit knows little.

The share is of the TF-IDF mass of character n-grams: a sentence that holds all n-grams of
"acute kidney failure" contains 1.0 of that term. A label's value is the greatest over its terms
(description, inclusion terms) and over the sentences.

Shapes: F hashed n-gram features, E terms, S sentences, L labels.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import HashingVectorizer

__all__ = ["LexicalMatch", "split_sentences"]

_MAX_SHARES = 2**22
"""Shares held at once; a note of more sentences is matched in several parts."""
_SENTENCE_END = re.compile(r"[;:\n]+|[.?!](?=\s|$)")


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Character offsets of the sentences and clauses of a note, white space cut off."""
    spans, start = [], 0
    for match in [*_SENTENCE_END.finditer(text), None]:
        end = match.start() if match else len(text)
        stripped = text[start:end].strip()
        if stripped:
            first = text.index(stripped[0], start)
            spans.append((first, first + len(stripped)))
        start = match.end() if match else end
    return spans


def _vectoriser() -> HashingVectorizer:
    # Hashed features need no stored vocabulary; scikit-learn's murmurhash is the same on every platform.
    return HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), n_features=2**18, alternate_sign=False, norm=None, dtype=np.float32
    )


class LexicalMatch:
    """The terms of a label space, ready to be looked for in sentences."""

    def __init__(self, mass_EF: sp.csr_matrix, term_label_E: NDArray[Any], *, num_labels: int):
        """Take what ``build`` or ``load`` made."""
        self.num_labels = num_labels
        self._mass_EF = mass_EF
        self._mass_FE = mass_EF.T.tocsr()
        self._first_term_L = np.searchsorted(term_label_E, np.arange(num_labels))
        self._term_label_E = term_label_E
        self._vectoriser = _vectoriser()

    @classmethod
    def build(cls, terms: Sequence[Sequence[str]]) -> "LexicalMatch":
        """Index the terms of each label.

        Args:
            terms: For each label its description and other terms; at least one each.
        """
        flat = [term for own in terms for term in own]
        term_label_E = np.repeat(np.arange(len(terms)), [len(own) for own in terms]).astype(np.int32)
        counts_EF = _vectoriser().transform(flat).tocsr()
        frequency_F = np.bincount(counts_EF.indices, minlength=counts_EF.shape[1])
        idf_F = np.log((1 + len(flat)) / (1 + frequency_F)) + 1
        counts_EF.data = ((1 + np.log(counts_EF.data)) * idf_F[counts_EF.indices]) ** 2
        total_E = np.asarray(counts_EF.sum(axis=1)).ravel()
        counts_EF.data /= np.repeat(np.maximum(total_E, 1e-9), np.diff(counts_EF.indptr))
        return cls(counts_EF.astype(np.float32), term_label_E, num_labels=len(terms))

    @classmethod
    def load(cls, path: Path) -> "LexicalMatch":
        """Read what ``save`` wrote."""
        arrays = load_file(path)
        shape = (len(arrays["indptr"]) - 1, 2**18)
        mass_EF = sp.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        return cls(mass_EF, arrays["term_label"], num_labels=int(arrays["num_labels"][0]))

    def save(self, path: Path) -> None:
        """Write the index as safetensors."""
        arrays = {
            "data": self._mass_EF.data,
            "indices": self._mass_EF.indices.astype(np.int32),
            "indptr": self._mass_EF.indptr.astype(np.int64),
            "term_label": self._term_label_E,
            "num_labels": np.array([self.num_labels]),
        }
        save_file(arrays, path)

    def match(self, texts: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any], list[tuple[int, int, int]]]:
        """Look for every label's terms in the sentences of one document.

        Args:
            texts: The texts of its notes.

        Returns:
            share [L] between 0 and 1, the index [L] of the sentence that gives it, and the
            sentences as (note index, start, end); notes without a sentence match nothing.
        """
        sentences = [(note, start, end) for note, text in enumerate(texts) for start, end in split_sentences(text)]
        if not sentences:
            return np.zeros(self.num_labels), np.zeros(self.num_labels, dtype=np.int64), []
        counts_SF = self._vectoriser.transform([texts[note][start:end] for note, start, end in sentences])
        counts_SF.data[:] = 1.0
        share_L, best_L = np.zeros(self.num_labels, dtype=np.float32), np.zeros(self.num_labels, dtype=np.int64)
        part = max(_MAX_SHARES // self._mass_FE.shape[1], 1)
        for first in range(0, len(sentences), part):
            share_SE = np.asarray((counts_SF[first : first + part] @ self._mass_FE).todense())
            share_SL = np.maximum.reduceat(share_SE, self._first_term_L, axis=1)
            part_best_L = share_SL.argmax(axis=0)
            part_share_L = share_SL[part_best_L, np.arange(self.num_labels)]
            better_L = part_share_L > share_L
            share_L[better_L], best_L[better_L] = part_share_L[better_L], part_best_L[better_L] + first
        return np.clip(share_L, 0, 1), best_L, sentences
