"""Whether two servers answer alike: without that, a comparison of their speed says nothing."""

from collections.abc import Sequence
from typing import Final

from scripts.serving_benchmark.load import Ask, Codes

__all__ = ["TOLERANCE", "answers_of", "check_equal"]

TOLERANCE: Final = 1e-3
"""Greatest difference of a confidence."""


async def answers_of(ask: Ask, texts: Sequence[str]) -> list[Codes]:
    """The suggested codes of each text, one after the other."""
    return [(await ask(text)).codes for text in texts]


def check_equal(answers: Sequence[Codes], expected: Sequence[Codes], *, who: str, may_withhold: bool = False) -> float:
    """Give the greatest difference of a confidence.

    Args:
        answers: Of the server.
        expected: Of the one that it is compared with.
        who: The server's name.
        may_withhold: Whether codes may be missing, as where a review stands behind the model.

    Raises:
        ValueError: The codes differ, or a confidence by more than the tolerance.
    """
    greatest = 0.0
    for number, (codes, others) in enumerate(zip(answers, expected, strict=True)):
        if codes.keys() - others.keys() or (not may_withhold and others.keys() - codes.keys()):
            raise ValueError(f"{who} suggests other codes for note {number}: nothing can be compared")
        for key, code in codes.items():
            greatest = max(greatest, abs(code["confidence"] - others[key]["confidence"]))
    if greatest > TOLERANCE:
        raise ValueError(
            f"{who}'s confidences differ by {greatest:.2g}, more than {TOLERANCE:g}: nothing can be compared"
        )
    return greatest
