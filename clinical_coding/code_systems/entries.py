"""Every entry of an ICD-10-CM library, headings before what is below them."""

from collections.abc import Iterator

from clinical_coding.code_library import CodeEntry, CodeLibrary

__all__ = ["all_entries"]


def all_entries(library: CodeLibrary) -> Iterator[CodeEntry]:
    """Walk through a release in tabular order."""
    seen: set[str] = set()
    for leaf in library.leaves():
        yield from reversed(_unseen(library, leaf, seen))


def _unseen(library: CodeLibrary, leaf: str, seen: set[str]) -> list[CodeEntry]:
    """A leaf and what is above it, from below, as far as it was not given before."""
    lineage: list[CodeEntry] = []
    code: str | None = leaf
    while code is not None and code not in seen:
        seen.add(code)
        entry = library.get(code)
        assert entry is not None, "a leaf and its ancestors are entries of their library"
        lineage.append(entry)
        code = entry.parent
    return lineage
