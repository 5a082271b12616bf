"""The guideline data: every code in it exists, and every entry is of some use."""

from collections.abc import Iterator

import pytest

from clinical_coding.code_library import load_icd10cm
from clinical_coding.edits.code_sets import CodeSet
from clinical_coding.edits.conventions import conventions

LIBRARY = load_icd10cm()


def _sets() -> Iterator[tuple[str, CodeSet]]:
    for name, entries in conventions():
        for place, entry in enumerate(entries if isinstance(entries, tuple) else (entries,)):
            for field, value in entry:
                if isinstance(value, CodeSet):
                    yield f"{name}[{place}].{field}", value


@pytest.mark.parametrize(("where", "codes"), list(_sets()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_code_exists(where: str, codes: CodeSet) -> None:
    unknown = [end for span in codes.spans for end in (span.first, span.last) if LIBRARY.get(end) is None]
    assert unknown == []


@pytest.mark.parametrize("name", ["included", "combined", "integral"])
def test_no_entry_sets_a_code_against_itself(name: str) -> None:
    for entry in getattr(conventions(), name):
        one, other = (value for _, value in entry if isinstance(value, CodeSet))
        leaves = [leaf for span in one.spans for leaf in LIBRARY.leaves_below(span.first) or (span.first,)]
        assert not [leaf for leaf in leaves if other.holds(one.spans[0].system, leaf)], entry


def test_every_entry_names_its_source() -> None:
    for _, entries in conventions():
        for entry in entries if isinstance(entries, tuple) else (entries,):
            source = getattr(entry, "source", "Medicare Code Editor")
            assert source.startswith(("Official Guidelines", "Tabular list", "Medicare Code Editor"))
