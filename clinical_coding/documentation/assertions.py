"""What a note asserts of something that it names: that the patient has it, lacks it, may have it, had it."""

from enum import StrEnum
from typing import Final

__all__ = ["PRECEDENCE", "Assertion"]


class Assertion(StrEnum):
    """The standing of one mention in the words around it."""

    AFFIRMED = "affirmed"
    """The patient has it now; also what is said of nothing else."""
    NEGATED = "negated"
    """Denied, absent, ruled out."""
    UNCERTAIN = "uncertain"
    """Probable, suspected, likely, questionable, possible, still to be ruled out and the like."""
    HISTORICAL = "historical"
    """Of the past: over, or not known to be present still."""
    FAMILY = "family"
    """Of a relative."""
    HYPOTHETICAL = "hypothetical"
    """Of what may come: return precautions, risks, prevention, medication as needed."""


PRECEDENCE: Final = (
    Assertion.NEGATED,
    Assertion.FAMILY,
    Assertion.HYPOTHETICAL,
    Assertion.UNCERTAIN,
    Assertion.HISTORICAL,
    Assertion.AFFIRMED,
)
"""Where several cues reach a mention the first of these holds: "no history of stroke" is negated."""
