"""Cut notes into token windows that the encoder can read side by side.

Takes notes, gives token ids with their character offsets. A note's tokens are spread evenly over
the fewest windows that hold them, so that stacked windows waste little padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from clinical_coding.bundle import Windowing
from clinical_coding.records import Note

__all__ = ["TokenWindows", "cut_windows"]


@dataclass(frozen=True, slots=True)
class TokenWindows:
    """The windows of one document (all notes of one encounter)."""

    input_ids: list[list[int]]
    """Token ids a window, special tokens at both ends."""
    notes: list[int]
    """Index of the note that each window comes from."""
    offsets: list[NDArray[Any]]
    """Character offsets into the note, [tokens without the special ones, 2], a window."""
    num_unread_tokens: int
    """Tokens beyond the last window."""

    @property
    def num_tokens(self) -> int:
        """Tokens of all windows, special ones left out."""
        return sum(len(offsets) for offsets in self.offsets)


def _evenly(num_tokens: int, num_windows: int) -> list[tuple[int, int]]:
    # A note of characters that the tokenizer drops has no token, and so no window.
    edges = [round(num_tokens * window / max(num_windows, 1)) for window in range(num_windows + 1)]
    return list(pairwise(edges))


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    tokens = tokenizer("")["input_ids"]
    if len(tokens) != 2:
        raise ValueError(
            f"the tokenizer puts {len(tokens)} special tokens around a text, expected one before and one after; "
            "use an encoder of the BERT family"
        )
    return tokens[0], tokens[1]


def cut_windows(
    documents: Sequence[Sequence[Note]], *, tokenizer: PreTrainedTokenizerBase, windowing: Windowing
) -> list[TokenWindows]:
    """Tokenise documents and cut them into windows.

    Args:
        documents: The notes of each encounter.
        tokenizer: A fast tokenizer with one special token before and one after a text.
        windowing: Window size and the most windows a document may have.

    Returns:
        The windows of each document, in order.
    """
    if not documents:
        return []
    texts = [note.text for notes in documents for note in notes]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False)
    first, last = _special_tokens(tokenizer)
    room = windowing.max_window_tokens - 2
    results, at = [], 0
    for notes in documents:
        windows = TokenWindows([], [], [], 0)
        unread = 0
        for note_index in range(len(notes)):
            ids = encoded["input_ids"][at]
            offsets = np.asarray(encoded["offset_mapping"][at], dtype=np.int32).reshape(-1, 2)
            at += 1
            for start, end in _evenly(len(ids), -(-len(ids) // room)):
                if len(windows.input_ids) == windowing.max_windows:
                    unread += end - start
                    continue
                windows.input_ids.append([first, *ids[start:end], last])
                windows.notes.append(note_index)
                windows.offsets.append(offsets[start:end])
        results.append(TokenWindows(windows.input_ids, windows.notes, windows.offsets, unread))
    return results
