"""How strictly a note binds: always, or only where something else holds; its codes alone, or such as those.

Judged by the note's own words. Knows nothing of encounters: whether a condition holds is for the
reader of the documentation to find out.
"""

import re
from typing import Final

from clinical_coding.tabular.instructions import InstructionKind

__all__ = ["gives_examples", "is_conditional"]

_UNCONDITIONAL: Final = frozenset({InstructionKind.EXCLUDES1, InstructionKind.EXCLUDES2, InstructionKind.INCLUDES})
"""Notes that tell what the owner is, and order nothing."""
_CONDITION: Final = re.compile(
    r"\bif (?:applicable|known|present|necessary|desired|any)\b|\bif no\b|\bas (?:applicable|appropriate)\b|"
    r"\bwhen (?:applicable|specified)\b|\bany\b|\bto (?:\([^)]*\) )?(?:further )?(?:identify|specify|indicate)\b",
    re.IGNORECASE,
)
_DOCUMENTED: Final = re.compile(
    r"\bassociated\b|\bcode(?:\(s\))? (?:\(for\)|for (?:findings|symptoms)\b)", re.IGNORECASE
)
"""Of codes that follow: due only where what is associated is documented."""
_SITUATION: Final = re.compile(
    r"\b(?:complicating|due to|during|following|from therapeutic use)\b|^associated\b.*\([A-Z]\d", re.IGNORECASE
)
"""Of codes that come first: due only in the situation that the line describes. "associated AIDS (B20)" is one;
"associated renal disease", of gout due to it, is part of the title."""
_EXAMPLES: Final = re.compile(r"\bsuch as\b|\bincluding:", re.IGNORECASE)


def is_conditional(kind: InstructionKind, note: str, *, alternatives: bool) -> bool:
    """Tell whether a note binds only where something else holds.

    Args:
        kind: The note's kind.
        note: The line, its heading joined to it.
        alternatives: The line stands beside others under no heading: each is for a case of its own.
    """
    if kind in _UNCONDITIONAL:
        return False
    if kind is InstructionKind.CODE_FIRST:
        return alternatives or bool(_CONDITION.search(note) or _SITUATION.search(note))
    return bool(_CONDITION.search(note) or _DOCUMENTED.search(note))


def gives_examples(note: str) -> bool:
    """Tell whether the codes that a note names are examples: "underlying disease, such as:"."""
    return _EXAMPLES.search(note) is not None
