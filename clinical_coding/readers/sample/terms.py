"""Official words for a code, brought into the form in which a clinician might still write them."""

import re
from collections.abc import Iterator
from typing import Final

from clinical_coding.code_library import CodeLibrary

__all__ = ["official_terms"]

MAX_TERM_WORDS: Final = 9

# First words that keep their capital inside a sentence.
_NAMES = (
    "Alzheimer", "Barrett", "Bell", "Berger", "Colles", "Crohn", "Graves", "Guillain", "Hashimoto", "Parkinson",
)  # fmt: skip
# Parentheses that the rest of the term cannot do without.
_BROKEN = re.compile(r"\((due|of|with|in|to|from)\b", re.IGNORECASE)
# Terms that only a tabular list uses.
_STILTED = re.compile(r"unspecified|elsewhere|other |encounter|,.* or |subsequent", re.IGNORECASE)


def official_terms(code: str, *, library: CodeLibrary) -> Iterator[str]:
    """Give a code's description and inclusion terms, as far as they can stand in a note.

    Args:
        code: A valid ICD-10-CM code.
        library: Where the words come from.

    Yields:
        Terms without parentheses and remarks, in small letters unless they begin with a name or
        an abbreviation.

    Raises:
        ValueError: The code is not valid in the library's release.
    """
    entry = library.get(code)
    if entry is None or not library.is_valid(code):
        raise ValueError(f"sample code {code} is not a valid code of release {library.release}; correct its data file")
    for term in (entry.description, *entry.inclusion_terms):
        if _BROKEN.search(term):
            continue
        plain = re.sub(r"\s*[(\[].*?[)\]]", "", term)
        plain = re.sub(r",? (NOS|initial encounter.*)$", "", plain).strip()
        if 0 < len(plain.split()) <= MAX_TERM_WORDS and not _STILTED.search(plain):
            keeps_capital = plain.startswith(_NAMES) or plain[1:2].isupper()
            yield plain if keeps_capital else plain[0].lower() + plain[1:]
