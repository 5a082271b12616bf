"""Documents read before they are encoded: cut into windows, their terms matched.

For a GPU the next documents are read in a thread of their own while it encodes the last ones.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import scipy.sparse as sp

from clinical_coding.bundle import Windowing
from clinical_coding.records import Note
from training.model.lexical import LexicalMatch
from training.model.windows import TokenWindows, cut_windows

__all__ = ["DocumentReader", "Reading"]

_DOCUMENTS_A_CHUNK: Final = 32
_CHUNKS_AHEAD: Final = 4
"""Read while others are encoded: a pass over notes of usual length takes two."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of a document before it is encoded."""

    windows: TokenWindows
    held_SF: sp.csr_matrix
    """See ``LexicalMatch.read``."""


class DocumentReader:
    """Reads documents in order."""

    def __init__(self, tokenizer: Any, windowing: Windowing, lexical: LexicalMatch, *, reads_ahead: bool) -> None:
        """Name what it reads with.

        Args:
            tokenizer: Of the encoder.
            windowing: How documents are cut.
            lexical: Whose terms are looked for.
            reads_ahead: In a thread beside the encoder's.
        """
        self._tokenizer = tokenizer
        self._windowing = windowing
        self._lexical = lexical
        self._reads_ahead = reads_ahead
        self.seconds = 0.0
        """That reading has taken since the reader was made."""

    def read(self, documents: Sequence[Sequence[Note]]) -> Iterator[Reading]:
        """Read documents, as far as they are asked for.

        Args:
            documents: Any number.
        """
        firsts = range(0, len(documents), _DOCUMENTS_A_CHUNK)
        chunks = (documents[first : first + _DOCUMENTS_A_CHUNK] for first in firsts)
        if not self._reads_ahead:
            for chunk in chunks:
                yield from self._read(chunk)
            return
        ahead = deque[Future[list[Reading]]]()
        with ThreadPoolExecutor(max_workers=1) as thread:
            for chunk in chunks:
                ahead.append(thread.submit(self._read, chunk))
                if len(ahead) > _CHUNKS_AHEAD:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()

    def _read(self, documents: Sequence[Sequence[Note]]) -> list[Reading]:
        started = time.perf_counter()
        cut = cut_windows(documents, tokenizer=self._tokenizer, windowing=self._windowing)
        readings = [
            Reading(windows, self._lexical.read([note.text for note in notes]))
            for windows, notes in zip(cut, documents, strict=True)
        ]
        self.seconds += time.perf_counter() - started
        return readings
