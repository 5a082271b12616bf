"""The Alphabetic Index of ICD-10-CM (XML of the CDC/NCHS): terms that lead to codes, for search.

Terms nest: under a main term stand subterms, each told by the words from the main term down. A code such as ``E11.-``
leads to the heading E11; "see" and "see also" lead to other terms and are left out.
"""

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator

from clinical_coding.code_systems.official.sources import Source
from clinical_coding.codes import CodeSystem, normalise_code

__all__ = ["ROOT", "read_index_terms"]

ROOT = "ICD10CM.index"


def read_index_terms(source: Source) -> dict[str, tuple[str, ...]]:
    """Read the terms of each code, in its usual form.

    Raises:
        ValueError: The XML is cut short.
    """
    try:
        root = ET.fromstring(source.body)
    except ET.ParseError as error:
        raise ValueError(f"{source.name} is not whole XML ({error}); fetch the file anew") from None
    terms: dict[str, list[str]] = defaultdict(list)
    for main in root.iter("mainTerm"):
        for code, words in _walk(main, ()):
            terms[code].append(words)
    return {code: tuple(dict.fromkeys(found)) for code, found in terms.items()}


def _walk(element: ET.Element, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    title = element.find("title")
    path = (*above, " ".join("".join(title.itertext()).split()) if title is not None else "")
    for name in ("code", "manif"):
        code = _code(element.findtext(name))
        if code is not None:
            yield code, " ".join(path)
    for below in element.findall("term"):
        yield from _walk(below, path)


def _code(text: str | None) -> str | None:
    if not text:
        return None
    try:
        return normalise_code(CodeSystem.ICD10CM, text.strip().rstrip("-").rstrip("."))
    except ValueError:
        # Such as a range, which names no code.
        return None
