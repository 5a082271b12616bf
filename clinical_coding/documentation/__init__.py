"""What the documentation really says: of each mention, whether the patient has it, and whether it supports a code.

Read in this order: ``sections`` and ``sentences`` cut a note up, ``cues`` finds the words that turn a mention's
meaning, ``scopes`` says how far they reach, ``reading`` answers for any stretch of a note, ``support`` applies the
guidelines, which differ by setting. It reads words, not medicine: what a cue does not say, it does not know.
"""

from clinical_coding.documentation.assertions import Assertion
from clinical_coding.documentation.reading import ReadNote, read_note
from clinical_coding.documentation.sections import Section, SectionKind
from clinical_coding.documentation.sentences import Sentence
from clinical_coding.documentation.support import Support, finding_of, support

__all__ = [
    "Assertion",
    "ReadNote",
    "Section",
    "SectionKind",
    "Sentence",
    "Support",
    "finding_of",
    "read_note",
    "support",
]
