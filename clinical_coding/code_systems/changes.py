"""What a release changes: codes new, deleted, revised, moved in the tree, or cut into finer ones.

Labels of a model, local policies and predictions are held against it; routing asks which codes changed of late.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

from clinical_coding.artefact import Artefact
from clinical_coding.code_library import CodeLibrary
from clinical_coding.code_systems.code_table import CodeTable
from clinical_coding.code_systems.entries import all_entries
from clinical_coding.code_systems.releases import Release, ReleasedSystem
from clinical_coding.codes import CodeSystem
from clinical_coding.tabular.instructions import InstructionKind

if TYPE_CHECKING:
    from clinical_coding.code_systems.systems import CodeSystems

__all__ = ["CodeChange", "ReleaseDiff", "changes_by_day", "compare"]

_COMPARED: Final = (ReleasedSystem.ICD10CM, ReleasedSystem.ICD10PCS, ReleasedSystem.HCPCS, ReleasedSystem.CPT)

Part = Literal["description", "terms", "notes", "7th characters", "dates"]


class CodeChange(Artefact):
    """One code in two releases."""

    code: str
    before: str | None
    """Its description in the old release; of a moved code, its parent there. Null where there is none."""
    after: str | None
    """The same in the new release."""
    is_leaf: bool
    """True when it stands on claims: in the new release, or of a deleted code, in the old one."""
    parts: tuple[Part, ...] = ()
    """What was revised."""


class ReleaseDiff(Artefact):
    """What a new release of a system makes other than an old one; codes in their usual form, in order."""

    system: CodeSystem
    old: Release
    new: Release
    added: tuple[CodeChange, ...]
    deleted: tuple[CodeChange, ...]
    revised: tuple[CodeChange, ...]
    reparented: tuple[CodeChange, ...]
    leaf_changed: tuple[CodeChange, ...]
    """Codes that became headings, since finer ones were added below, or headings that became codes."""

    def changes(self) -> Mapping[str, tuple[str, ...]]:
        """The kinds of change by code: new, deleted, revised, re-parented, leaf changed."""
        kinds: dict[str, list[str]] = defaultdict(list)
        for kind, changes in (
            ("new", self.added),
            ("deleted", self.deleted),
            ("revised", self.revised),
            ("re-parented", self.reparented),
            ("leaf changed", self.leaf_changed),
        ):
            for change in changes:
                kinds[change.code].append(kind)
        return {code: tuple(found) for code, found in kinds.items()}

    def touched(self, keys: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Of some label keys, those whose code is changed, with the kinds of change."""
        changes = self.changes()
        prefix = f"{self.system}:"
        codes = {key: key.removeprefix(prefix) for key in keys if key.startswith(prefix)}
        return {key: changes[code] for key, code in sorted(codes.items()) if code in changes}


@dataclass(frozen=True, slots=True)
class _Entry:
    description: str | None
    is_leaf: bool
    parent: str | None = None
    terms: tuple[str, ...] = ()
    notes: frozenset[tuple[str, str]] = frozenset()
    seventh: tuple[tuple[str, str], ...] = ()
    dates: tuple[date | None, ...] = ()


def compare(systems: "CodeSystems", old: Release, new: Release) -> ReleaseDiff:
    """Compare two held releases of one code system.

    Args:
        systems: Holds both.
        old: The earlier one.
        new: The later one.

    Raises:
        ValueError: They are of different systems, of one that has no codes of its own, one and the same, or named in
            the wrong order.
    """
    if old.system != new.system or old.system not in _COMPARED:
        raise ValueError(
            f"{old.describe()} and {new.describe()} cannot be compared; "
            f"name two releases of one of {', '.join(CodeSystem)}"
        )
    if new.effective_from <= old.effective_from:
        fault = "is one and the same as" if new.sha256 == old.sha256 else "starts after"
        raise ValueError(
            f"{old.describe()} {fault} {new.describe()}, so that there is no change from the first to the second; "
            "name the earlier release first and a later one second"
        )
    before, after = _entries(systems, old), _entries(systems, new)
    both = [code for code in after if code in before]
    revised = {code: parts for code in both if (parts := _revised(before[code], after[code]))}
    return ReleaseDiff(
        system=CodeSystem(old.system),
        old=old,
        new=new,
        added=tuple(_added(code, after[code]) for code in after if code not in before),
        deleted=tuple(_deleted(code, before[code]) for code in before if code not in after),
        revised=tuple(_kept(code, before[code], after[code], parts) for code, parts in revised.items()),
        reparented=tuple(
            _moved(code, before[code], after[code]) for code in both if before[code].parent != after[code].parent
        ),
        leaf_changed=tuple(
            _kept(code, before[code], after[code]) for code in both if before[code].is_leaf != after[code].is_leaf
        ),
    )


def changes_by_day(systems: "CodeSystems", system: CodeSystem) -> tuple[tuple[date, frozenset[str]], ...]:
    """The codes that each release of a system added, revised or deleted, with the day on which that took effect.

    Args:
        systems: The held releases; the earliest of a system has none before it, so that only dates that it states
            itself (HCPCS) tell its changes.
        system: Whose codes.
    """
    days: dict[date, set[str]] = defaultdict(set)
    releases = systems.releases(system)
    for old, new in pairwise(releases):
        days[new.effective_from] |= compare(systems, old, new).changes().keys()
    if system is CodeSystem.HCPCS:
        for release in releases:
            for row in systems.table(release).rows.values():
                for day in (row.starts, row.changed, row.ends):
                    if day is not None:
                        days[day].add(row.code)
    return tuple((day, frozenset(codes)) for day, codes in sorted(days.items()))


def _added(code: str, entry: _Entry) -> CodeChange:
    return CodeChange(code=code, before=None, after=entry.description, is_leaf=entry.is_leaf)


def _deleted(code: str, entry: _Entry) -> CodeChange:
    return CodeChange(code=code, before=entry.description, after=None, is_leaf=entry.is_leaf)


def _kept(code: str, old: _Entry, new: _Entry, parts: tuple[Part, ...] = ()) -> CodeChange:
    return CodeChange(code=code, before=old.description, after=new.description, is_leaf=new.is_leaf, parts=parts)


def _moved(code: str, old: _Entry, new: _Entry) -> CodeChange:
    return CodeChange(code=code, before=old.parent, after=new.parent, is_leaf=new.is_leaf)


def _revised(old: _Entry, new: _Entry) -> tuple[Part, ...]:
    pairs: tuple[tuple[Part, object, object], ...] = (
        ("description", old.description, new.description),
        ("terms", old.terms, new.terms),
        ("notes", old.notes, new.notes),
        ("7th characters", old.seventh, new.seventh),
        ("dates", old.dates, new.dates),
    )
    return tuple(part for part, before, after in pairs if before != after)


def _entries(systems: "CodeSystems", release: Release) -> dict[str, _Entry]:
    if release.system is ReleasedSystem.ICD10CM:
        return _of_library(systems.library(release))
    return _of_table(systems.table(release))


def _of_table(table: CodeTable) -> dict[str, _Entry]:
    return {
        row.code: _Entry(row.description, not row.is_heading, dates=(row.starts, row.ends))
        for row in table.rows.values()
    }


def _of_library(library: CodeLibrary) -> dict[str, _Entry]:
    notes: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for kind in InstructionKind:
        for block in library.note_blocks(kind):
            notes[block.owner] |= {(kind.value, instruction.note) for instruction in block.instructions}
    return {
        entry.code: _Entry(
            entry.description,
            entry.is_leaf,
            entry.parent,
            entry.inclusion_terms,
            frozenset(notes.get(entry.code, ())),
            () if entry.is_leaf else tuple(library.seventh_characters(entry.code).items()),
        )
        for entry in all_entries(library)
    }
