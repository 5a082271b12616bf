"""Notes of a wanted length, from the sample generator's texts strung together and cut.

A length is counted in words. Mixed lengths are spread evenly on a logarithmic scale, every part of the scale in its
share however few notes there are, and shuffled; so that one server's notes are as long as another's.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from clinical_coding.readers import read_records

__all__ = ["LEAST_WORDS", "MOST_WORDS", "mixed_lengths", "texts_of"]

LEAST_WORDS: Final = 50
MOST_WORDS: Final = 3000
_SAMPLE: Final = "sample:400?seed=77"


def mixed_lengths(count: int, *, seed: int) -> list[int]:
    """Words of so many notes, from 50 to 3,000."""
    span = MOST_WORDS / LEAST_WORDS
    lengths = [round(LEAST_WORDS * span ** ((at + 0.5) / count)) for at in range(count)]
    random.Random(seed).shuffle(lengths)
    return lengths


def texts_of(lengths: Sequence[int], *, seed: int = 0) -> list[str]:
    """A text of each length; no two begin at the same place, and the same arguments give the same texts."""
    words = [word for record in read_records(_SAMPLE) for note in record.notes for word in note.text.split(" ")]
    first = random.Random(seed).randrange(len(words))
    stream = _forever(words, first)
    return [" ".join(next(stream) for _ in range(length)) for length in lengths]


def _forever(words: Sequence[str], first: int) -> Iterator[str]:
    yield from chain(words[first:], words[:first])
    while True:
        yield from words
