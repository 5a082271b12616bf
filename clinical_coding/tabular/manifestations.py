"""Which codes are the manifestation half of an etiology/manifestation pair, and never principal.

Guideline I.A.13: most say so in their title ("in diseases classified elsewhere"). The others are
told by two signs together: a code-first note that asks for the disease that causes them under no
condition, and a title that places them in or due to that disease. One sign alone is not enough:
postural kyphosis stands under "code first underlying disease" and may well be principal.
"""

import re
from collections.abc import Sequence
from typing import Final

from clinical_coding.tabular.instructions import Instruction

__all__ = ["is_manifestation"]

_ELSEWHERE: Final = re.compile(r"\b(?:in|with|due to)\b.*\bclassified elsewhere\b", re.IGNORECASE)
_PLACED: Final = re.compile(r"\b(?:in|due to)\b.*\b(?:diseases?|disorders?|conditions?|impairment)\b", re.IGNORECASE)
_CAUSE: Final = re.compile(
    r"(?:the )?(?:underlying|associated) (?:\w+ )?(?:disease|disorder|condition|neoplasm|infection|cause)\b",
    re.IGNORECASE,
)


def is_manifestation(titles: Sequence[str], code_first: Sequence[Instruction]) -> bool:
    """Judge a code by its titles, up to the category, and by the code-first notes in force for it."""
    if any(_ELSEWHERE.search(title) for title in titles):
        return True
    asks = any(_CAUSE.match(note.note) and not note.is_conditional for note in code_first)
    return asks and any(_PLACED.search(title) for title in titles)
