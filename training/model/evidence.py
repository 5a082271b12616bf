"""From token contributions to evidence spans: the words of the note that support a code.

A token's contribution is attention times the gradient of the logit with respect to it, which for label
attention is exact (see ``head``). Contributions are summed a word, and the span grows from the strongest
word over its neighbours.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical_coding.codes import EvidenceSpan
from clinical_coding.records import Note
from training.model.windows import TokenWindows

__all__ = ["find_evidence"]

_MAX_SIDE_WORDS = 6
"""A span grows at most so many words to each side of the strongest."""
_JOIN_SHARE = 0.15
"""A neighbour belongs to the span from this share of the strongest word's contribution."""
_SECOND_SHARE = 0.6
"""A second span is named when its strongest word reaches this share of the first's."""


def words_of_windows(windows: TokenWindows, notes: Sequence[Note]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Group a document's tokens into words.

    Returns:
        The word index of each token [M], and for each word (note index, start, end) [words, 3].
    """
    word_of_token, words = list[int](), list[tuple[int, int, int]]()
    for note_index, offsets in zip(windows.notes, windows.offsets, strict=True):
        text = notes[note_index].text
        for start, end in offsets.tolist():
            if words and words[-1][0] == note_index and _continues(text, words[-1][2], start, end):
                words[-1] = (note_index, words[-1][1], end)
            else:
                words.append((note_index, start, end))
            word_of_token.append(len(words) - 1)
    return np.array(word_of_token, dtype=np.int64), np.array(words, dtype=np.int64).reshape(-1, 3)


def _continues(text: str, word_end: int, start: int, end: int) -> bool:
    """Say whether a token belongs to the word before it."""
    # Byte-level tokenizers cut one character into several tokens, and white space into tokens of its own.
    if start < word_end or text[start:end].isspace():
        return True
    return start == word_end and text[start - 1].isalnum() and text[start : start + 1].isalnum()


def _grow(strength: NDArray[Any], words: NDArray[Any], peak: int) -> tuple[int, int]:
    """First and last word of the span around a peak; one weak word between two strong ones is bridged."""
    floor = strength[peak] * _JOIN_SHARE
    edges = []
    for step in (-1, 1):
        edge = peak
        for distance in range(1, _MAX_SIDE_WORDS + 1):
            word = peak + step * distance
            if not 0 <= word < len(words) or words[word][0] != words[peak][0] or abs(word - edge) > 2:
                break
            if strength[word] >= floor:
                edge = word
        edges.append(edge)
    return edges[0], edges[1]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Cut white space off both ends: byte-level tokens begin with their space."""
    words = text[start:end]
    if not words.strip():
        return start, end
    return end - len(words.lstrip()), start + len(words.rstrip())


def find_evidence(
    contribution_M: NDArray[Any], *, word_of_token: NDArray[Any], words: NDArray[Any], notes: Sequence[Note]
) -> tuple[EvidenceSpan, ...]:
    """Name the one or two stretches of the notes that support a code most.

    Args:
        contribution_M: What each token adds to the code's logit.
        word_of_token: From ``words_of_windows``.
        words: Likewise.
        notes: The document's.

    Returns:
        Spans that do not overlap, the strongest first; none when the document has no words.
    """
    if not len(words):
        return ()
    strength = np.bincount(word_of_token, weights=contribution_M, minlength=len(words))
    spans, strongest = list[EvidenceSpan](), None
    while len(spans) < 2:
        peak = int(strength.argmax())
        if strongest is not None and strength[peak] < strongest * _SECOND_SHARE:
            break
        strongest = strength[peak] if strongest is None else strongest
        first, last = _grow(strength, words, peak)
        note = notes[int(words[first][0])]
        start, end = _trimmed(note.text, int(words[first][1]), int(words[last][2]))
        spans.append(EvidenceSpan(note_id=note.note_id, start=start, end=end))
        strength[first : last + 1] = -np.inf
        if not np.isfinite(strength).any() or strongest <= 0:
            break
    return tuple(spans)
