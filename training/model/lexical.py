"""The lexical match: how much of a code's own words one sentence of the note contains.

Takes note texts, gives for each label a share between 0 and 1. It has
learned nothing, so it speaks for rare and unseen codes where the trained logit knows little.

The share is of the TF-IDF mass of character n-grams: a sentence that holds all n-grams of
"acute kidney failure" contains 1.0 of that term. A label's value is the greatest over its terms
(description, inclusion terms) and over the sentences.

Shapes: F hashed n-gram features, E terms, S sentences, L labels.
"""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import HashingVectorizer

__all__ = ["LexicalMatch", "split_sentences"]

_NUM_FEATURES = 2**18
_MAX_SHARES = 2**22
"""Shares held at once; a note of more sentences is matched in several parts."""
_SHARES_OF_TERMS = (0.02, 0.05, 0.1, 0.2, 1.0)
"""The rough match reads a term's n-grams of at most so many terms: the first share that leaves it half its mass."""
_LEAST_MASS = 0.5
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
        analyzer="char_wb",
        ngram_range=(3, 5),
        n_features=_NUM_FEATURES,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )


class LexicalMatch:
    """The terms of a label space, ready to be looked for in sentences."""

    def __init__(self, mass_EF: sp.csr_matrix, term_label_E: NDArray[Any], *, num_labels: int):
        """Take what ``build`` or ``load`` made."""
        self.num_labels = num_labels
        self._mass_EF = mass_EF
        self._term_label_E = term_label_E
        self._first_term_L = np.searchsorted(term_label_E, np.arange(num_labels + 1))
        self._vectoriser = _vectoriser()

    @cached_property
    def _telling_FE(self) -> sp.csr_matrix:
        """The mass of each term's telling n-grams, those of few terms, at hand by n-gram."""
        mass_EF = self._mass_EF
        share_of_terms_F = np.bincount(mass_EF.indices, minlength=mass_EF.shape[1]) / mass_EF.shape[0]
        share_of_terms = share_of_terms_F.astype(np.float32)[mass_EF.indices]
        limit_E = np.zeros(mass_EF.shape[0], dtype=np.float32)
        for limit in map(np.float32, reversed(_SHARES_OF_TERMS)):
            telling = (np.where(share_of_terms <= limit, mass_EF.data, 0), mass_EF.indices, mass_EF.indptr)
            mass_E = np.asarray(sp.csr_matrix(telling, shape=mass_EF.shape).sum(axis=1)).ravel()
            limit_E[mass_E >= _LEAST_MASS] = limit
        kept = share_of_terms <= np.repeat(limit_E, np.diff(mass_EF.indptr))
        starts = np.concatenate([[0], np.cumsum(kept, dtype=np.int32)])[mass_EF.indptr]
        telling_EF = sp.csr_matrix((mass_EF.data[kept], mass_EF.indices[kept], starts), shape=mass_EF.shape)
        return telling_EF.T.tocsr()

    @classmethod
    def build(cls, terms: Sequence[Sequence[str]]) -> "LexicalMatch":
        """Index the terms of each label.

        Args:
            terms: For each label its description and other terms; at least one each.
        """
        nothing = cls(sp.csr_matrix((0, _NUM_FEATURES), dtype=np.float32), np.zeros(0, dtype=np.int32), num_labels=0)
        return nothing.extend(terms)

    def extend(self, terms: Sequence[Sequence[str]]) -> "LexicalMatch":
        """Index the terms of more labels behind those that are here, whose shares stay what they are.

        Args:
            terms: For each new label its description and other terms; at least one each.

        Returns:
            An index of all labels. How rare an n-gram is, is counted over all terms, but weighs in the new ones alone:
            the calibration was fitted to the old ones' shares.
        """
        flat = [term for own in terms for term in own]
        labels = np.arange(self.num_labels, self.num_labels + len(terms))
        term_label_E = np.repeat(labels, [len(own) for own in terms]).astype(np.int32)
        counts_EF = _vectoriser().transform(flat).tocsr()
        num_terms = self._mass_EF.shape[0] + len(flat)
        # No n-gram of a term has mass zero, so the old ones can still be counted.
        frequency_F = np.bincount(np.concatenate([self._mass_EF.indices, counts_EF.indices]), minlength=_NUM_FEATURES)
        idf_F = np.log((1 + num_terms) / (1 + frequency_F)) + 1
        counts_EF.data = ((1 + np.log(counts_EF.data)) * idf_F[counts_EF.indices]) ** 2
        total_E = np.asarray(counts_EF.sum(axis=1)).ravel()
        counts_EF.data /= np.repeat(np.maximum(total_E, 1e-9), np.diff(counts_EF.indptr))
        return LexicalMatch(
            sp.vstack([self._mass_EF, counts_EF.astype(np.float32)], format="csr"),
            np.concatenate([self._term_label_E, term_label_E]),
            num_labels=self.num_labels + len(terms),
        )

    @classmethod
    def load(cls, path: Path) -> "LexicalMatch":
        """Read what ``save`` wrote."""
        arrays = load_file(path)
        shape = (len(arrays["indptr"]) - 1, _NUM_FEATURES)
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

    def read(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Which n-grams the sentences of one document hold, [S, F]; for ``match`` and ``match_roughly``."""
        sentences = [text[start:end] for text in texts for start, end in split_sentences(text)]
        if not sentences:
            return sp.csr_matrix((0, self._mass_EF.shape[1]), dtype=np.float32)
        held_SF = self._vectoriser.transform(sentences)
        held_SF.data[:] = 1.0
        return held_SF

    def match(self, held_SF: sp.csr_matrix, labels: NDArray[Any] | None = None) -> NDArray[Any]:
        """Look for labels' terms in the sentences of one document.

        Args:
            held_SF: What ``read`` found in it.
            labels: Which labels, ascending; all when None.

        Returns:
            share [L] between 0 and 1 for each; notes without a sentence match nothing.
        """
        mass_EF, first_term_L = self._mass_EF, self._first_term_L[:-1]
        if labels is not None:
            num_terms_L = np.diff(self._first_term_L)[labels]
            first_term_L = np.cumsum(num_terms_L) - num_terms_L
            moved = np.repeat(self._first_term_L[labels] - first_term_L, num_terms_L)
            mass_EF = mass_EF[moved + np.arange(len(moved))]
        share_E = _greatest(lambda part_SF: (mass_EF @ part_SF.T.tocsr()).max(axis=1), held_SF, mass_EF.shape[0])
        return np.clip(np.maximum.reduceat(share_E, first_term_L), 0, 1)

    def prepare_rough_match(self) -> None:
        """Index the telling n-grams now rather than at the first rough match."""
        _ = self._telling_FE

    def match_roughly(self, held_SF: sp.csr_matrix) -> NDArray[Any]:
        """Shares [L] of every label by its terms' telling n-grams alone: at most that of ``match``, and cheaper."""
        share_E = _greatest(lambda part_SF: (part_SF @ self._telling_FE).max(axis=0), held_SF, self._mass_EF.shape[0])
        return np.maximum.reduceat(share_E, self._first_term_L[:-1])


def _greatest(shares: Callable[[sp.csr_matrix], sp.coo_matrix], held_SF: sp.csr_matrix, num_terms: int) -> NDArray[Any]:
    """Greatest share [E] of each term over the sentences, some sentences at a time."""
    share_E, at_once = np.zeros(num_terms, dtype=np.float32), max(_MAX_SHARES // num_terms, 1)
    for first in range(0, held_SF.shape[0], at_once):
        np.maximum(share_E, shares(held_SF[first : first + at_once]).toarray().ravel(), out=share_E)
    return share_E
