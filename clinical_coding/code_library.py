"""The code library: every ICD-10-CM code of one release, with description, terms, notes and place in the tree.

Readers judge codes by it, training starts label queries from its words, edits and queries follow
its notes, serving describes codes with it. It knows nothing of records. Source: the CDC/NCHS
tabular list and the list of its codes; those of April 2026 lie in the package ``simple_icd_10_cm``,
which is not imported. What they say is kept in the user's cache folder, and entries are built only
when asked for.
"""

import importlib.util
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from clinical_coding.codes import CodeSystem
from clinical_coding.procedure_words import WORDS
from clinical_coding.tabular.columns import Columns, load_columns
from clinical_coding.tabular.exclusions import Exclusions
from clinical_coding.tabular.instructions import Instruction, InstructionKind, NoteBlock
from clinical_coding.tabular.manifestations import is_manifestation
from clinical_coding.tabular.notes import Notes
from clinical_coding.tabular.tree import CodeTree

__all__ = ["CODIESP_RELEASE", "ICD10CM_RELEASE", "CodeEntry", "CodeLibrary", "describe", "load_icd10cm"]

ICD10CM_RELEASE: Final = "2026-04"
CODIESP_RELEASE: Final = "icd10es-2018"

_PACKAGE: Final = "simple_icd_10_cm"
_TABULAR_XML: Final = "icd10c-tabular-April-1-2026.xml"
_CODE_LIST: Final = "code-list-April-2026.txt"
_START: Final = attrgetter("start")
_NONE_DUE: Final[Mapping[str, str]] = MappingProxyType({})


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


class CodeLibrary:
    """The codes of one release of ICD-10-CM."""

    def __init__(self, columns: Columns, *, release: str) -> None:
        self.release = release
        self._columns = columns
        self._tree = CodeTree(columns["codes"].split("\n"), columns["parents"], columns["stops"])
        self._rows = self._tree.rows
        self._notes = Notes(columns, self._tree)
        self._exclusions = Exclusions(self._notes, self._tree)
        self._manifestations: dict[int, bool] = {}

    @classmethod
    def from_files(cls, tabular_xml: Path, order_file: Path, *, release: str) -> Self:
        """Read a release from its official files, or from the cache that was made of them.

        Args:
            tabular_xml: The tabular list.
            order_file: The CMS order file, or a list of one undotted code a line.
            release: The name of the release, such as ``2026-04``.

        Raises:
            ValueError: A file is not what it should be, or the two are of different releases.
        """
        return cls(load_columns(tabular_xml, order_file), release=release)

    def get(self, code: str) -> CodeEntry | None:
        """Look up a code, subcategory or category in its usual form (upper case, dotted)."""
        row = self._rows.get(code)
        return None if row is None else self._entry(row)

    def is_valid(self, code: str) -> bool:
        """Tell whether a code can stand on a claim in this release: it is here, and a leaf."""
        row = self._rows.get(code)
        return row is not None and self._tree.stops[row] == row + 1

    def leaves(self) -> tuple[str, ...]:
        """All codes that can stand on a claim, in the order of the tabular list."""
        return self._leaves

    def leaves_below(self, code: str) -> tuple[str, ...]:
        """The codes below one that can stand on a claim, itself when it can; none for an unknown code."""
        row = self._rows.get(code)
        if row is None:
            return ()
        return tuple(self._tree.codes[leaf] for leaf in self._tree.leaf_rows(row, self._tree.stops[row]))

    def children(self, code: str) -> tuple[str, ...]:
        """The entries directly below a code, in tabular order; none for a leaf or an unknown code."""
        row = self._rows.get(code)
        return () if row is None else tuple(self._tree.codes[child] for child in self._tree.child_rows(row))

    def siblings(self, code: str) -> tuple[str, ...]:
        """The other leaves under a code's parent, in tabular order; none for an unknown code or a category."""
        row = self._rows.get(code)
        if row is None or self._tree.parents[row] < 0:
            return ()
        return tuple(leaf for leaf in self._leaves_by_parent[self._tree.parents[row]] if leaf != code)

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

    def seventh_characters(self, code: str) -> Mapping[str, str]:
        """The 7th characters of a code that is not complete without one, with their words.

        Args:
            code: The code without its 7th character, with or without placeholders: ``S49.8``, ``S49.8XX``.

        Returns:
            Those that make a code of this release; empty when none is due.
        """
        row = self._rows.get(code, self._rows.get(code.rstrip("X.")))
        definition = None if row is None else self._columns["extended"].get(str(row))
        if row is None or definition is None:
            return _NONE_DUE
        words = self._columns["extensions"][definition]
        return MappingProxyType(
            {code[-1]: words[code[-1]] for code in self._tree.codes[row + 1 : self._tree.stops[row]]}
        )

    def instructions(self, code: str, kind: InstructionKind) -> tuple[Instruction, ...]:
        """The instructions in force for a code: its own, then its ancestors', its block's, its chapter's."""
        row = self._rows.get(code)
        return () if row is None else self._notes.in_force(row, kind)

    def names(self, instruction: Instruction, code: str) -> bool:
        """Tell whether a code lies in one of an instruction's ranges; never for an unknown code."""
        row = self._rows.get(code, -1)
        place = bisect_right(instruction.ranges, row, key=_START) - 1
        return place >= 0 and row < instruction.ranges[place].stop

    def excludes1(self, code: str, other: str) -> Instruction | None:
        """The Excludes1 line, of either code or above it, that forbids the two together.

        The notes alone are asked: two unrelated conditions, and a note nearer to the code that orders
        both, are the caller's to judge. Null when no note forbids them, and for an unknown code.
        """
        return self._exclusions.between(code, other)

    def note_blocks(self, kind: InstructionKind) -> tuple[NoteBlock, ...]:
        """All notes of a kind, as they are printed, in tabular order."""
        return self._notes.of_kind(kind)

    def is_manifestation(self, code: str) -> bool:
        """Tell whether a code is the manifestation half of a pair, never principal or first-listed (I.A.13)."""
        row = self._rows.get(code)
        if row is None:
            return False
        known = self._manifestations.get(row)
        if known is None:
            titles = [self._title(one) for one in self._tree.lineage(row)]
            code_first = self._notes.in_force(row, InstructionKind.CODE_FIRST)
            known = self._manifestations[row] = is_manifestation(titles, code_first)
        return known

    @cached_property
    def _leaves(self) -> tuple[str, ...]:
        return tuple(self._tree.codes[row] for row in self._tree.leaf_rows())

    @cached_property
    def _leaves_by_parent(self) -> dict[int, list[str]]:
        grouped: dict[int, list[str]] = defaultdict(list)
        for row in self._tree.leaf_rows():
            grouped[self._tree.parents[row]].append(self._tree.codes[row])
        return grouped

    @cached_property
    def _titles(self) -> list[str]:
        return self._columns["titles"].split("\n")

    def _title(self, row: int) -> str:
        title = self._titles[row]
        if title:
            return title
        parent = self._tree.parents[row]
        words = self._columns["extensions"][self._columns["extended"][str(parent)]]
        return f"{self._titles[parent]}, {words[self._tree.codes[row][-1]]}"

    def _entry(self, row: int) -> CodeEntry:
        code, parent = self._tree.codes[row], self._tree.parents[row]
        terms = self._columns["terms"]
        return CodeEntry(
            code=code,
            description=self._title(row),
            inclusion_terms=tuple(terms.get(str(row if self._titles[row] else parent), ())),
            parent=None if parent < 0 else self._tree.codes[parent],
            chapter=self._chapter(row),
            is_leaf=self._tree.stops[row] == row + 1,
        )

    def _chapter(self, row: int) -> str:
        return next(title for _, title, start, stop in self._columns["chapters"] if start <= row < stop)


@cache
def load_icd10cm() -> CodeLibrary:
    """Load the embedded release of ICD-10-CM, from the user's cache where it is whole, else from its files.

    Raises:
        ModuleNotFoundError: The package that holds the tabular list is not installed.
        ValueError: The package that is installed holds another release.
    """
    folder = _embedded_folder()
    for name in (_TABULAR_XML, _CODE_LIST):
        if not (folder / name).is_file():
            raise ValueError(
                f"the package {_PACKAGE} holds no {name}, so not the ICD-10-CM release {ICD10CM_RELEASE}; "
                f"install the version that does: pip install -c constraints.txt {_PACKAGE}"
            )
    return CodeLibrary.from_files(folder / _TABULAR_XML, folder / _CODE_LIST, release=ICD10CM_RELEASE)


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


def _embedded_folder() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"the package {_PACKAGE} with the ICD-10-CM tabular list is not installed; "
            'install it with: pip install "chartloop[clinical-coding]"'
        )
    return Path(spec.origin).parent / "data"
