"""All code systems that are held, by release: which one is in force on a day, and what it says of a code.

Readers, edits, queries, grouping, decisions and routing ask here. Tables are read when first asked for, and kept.
It knows no encounter; the day to ask for is ``dates.date_of_coding``'s business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Final

from clinical_coding.code_library import ICD10CM_RELEASE, CodeLibrary
from clinical_coding.code_systems import embedded as embedded_release
from clinical_coding.code_systems import tables
from clinical_coding.code_systems.changes import changes_by_day
from clinical_coding.code_systems.code_table import CodeTable
from clinical_coding.code_systems.payment_tables import PairEdits, UnitLimits
from clinical_coding.code_systems.releases import Release, ReleasedSystem, Standing, in_order
from clinical_coding.code_systems.search import SearchIndex
from clinical_coding.code_systems.store import StoredRelease, stored_releases
from clinical_coding.codes import CodeSystem
from clinical_coding.procedure_words import WORDS

__all__ = ["CodeSystems"]

_FLAT: Final = (ReleasedSystem.ICD10PCS, ReleasedSystem.HCPCS, ReleasedSystem.CPT)


@dataclass(frozen=True, slots=True)
class _Held:
    release: Release
    """With the end that follows from the next release."""
    stored: StoredRelease | None
    """Null for the embedded release."""


class CodeSystems:
    """The held releases of every system."""

    def __init__(self, stored: Sequence[StoredRelease]) -> None:
        by_hash = {one.release.sha256: one for one in stored}
        self._held: dict[str, tuple[_Held, ...]] = {}
        for system in ReleasedSystem:
            releases = [one.release for one in stored if one.release.system is system]
            # An imported release of the embedded one's name is the same edition, and takes its place.
            if system is ReleasedSystem.ICD10CM and all(release.name != ICD10CM_RELEASE for release in releases):
                releases.append(embedded_release.release())
            if releases:
                self._held[system] = tuple(
                    _Held(release, by_hash.get(release.sha256)) for release in in_order(releases)
                )
        self._libraries: dict[str, CodeLibrary] = {}
        self._tables: dict[str, CodeTable] = {}
        self._pairs: dict[str, PairEdits] = {}
        self._limits: dict[str, UnitLimits] = {}
        self._weights: dict[str, Mapping[str, float]] = {}
        self._indexes: dict[str, SearchIndex] = {}
        self._changes: dict[CodeSystem, tuple[tuple[date, frozenset[str]], ...]] = {}

    @staticmethod
    @cache
    def embedded() -> "CodeSystems":
        """What comes with chartloop: one release of ICD-10-CM, and nothing else."""
        return CodeSystems(())

    @staticmethod
    def open(folder: Path) -> "CodeSystems":
        """Take up the imported releases beside the embedded one.

        Args:
            folder: ``DataDirectory.code_systems``; it need not exist.

        Raises:
            ValueError: A stored release is damaged; the message names the file.
        """
        return CodeSystems(stored_releases(folder))

    def releases(self, system: CodeSystem | ReleasedSystem | None = None) -> tuple[Release, ...]:
        """The held releases of one system, or of all, oldest first; ends that follow from the next release are set."""
        systems = list(ReleasedSystem) if system is None else [system]
        return tuple(held.release for one in systems for held in self._held.get(one, ()))

    def in_force(self, system: CodeSystem | ReleasedSystem, on: date | None) -> Release | None:
        """Find the release that holds on a day.

        Args:
            system: Whose release.
            on: The day; null asks for the newest held.

        Returns:
            Null when no held release covers the day.
        """
        held = self._held.get(system, ())
        if on is None:
            return held[-1].release if held else None
        return next((one.release for one in held if one.release.covers(on)), None)

    def judging(self, system: CodeSystem | ReleasedSystem, on: date | None = None) -> Release | None:
        """Find the release that judges a day: the one in force, else the nearest earlier, else the earliest.

        Returns:
            Null when no release of the system is held.
        """
        held = self._judge(system, on)
        return None if held is None else held.release

    def named(self, system: CodeSystem, name: str) -> Release | None:
        """Find a held release by its name, such as ``2026-04``."""
        return next((held.release for held in self._held.get(system, ()) if held.release.name == name), None)

    def icd10cm(self, on: date | None = None) -> CodeLibrary:
        """The library of ICD-10-CM that judges a day; the newest held when no day is given."""
        held = self._judge(CodeSystem.ICD10CM, on)
        assert held is not None, "the embedded release, or one in its place, is always held"
        return self._library(held)

    def standing(self, system: CodeSystem, code: str, on: date | None = None) -> Standing:
        """Judge a code by the release of a day.

        Args:
            system: The code's system.
            code: The code in its usual form.
            on: The day of service; null asks the newest release. A day that no held release covers is judged
                by the nearest, as in :meth:`judging`.
        """
        held = self._held.get(system)
        judge = self._judge(system, on)
        if held is None or judge is None:
            return Standing.NOT_HELD
        standing = self._stands_in(judge, code, on)
        if standing is not Standing.UNKNOWN:
            return standing
        # What the release of the day does not know may be known before or after it.
        place = held.index(judge)
        if any(self._stands_in(other, code, None) is not Standing.UNKNOWN for other in held[:place]):
            return Standing.DELETED
        if any(self._stands_in(other, code, None) is not Standing.UNKNOWN for other in held[place + 1 :]):
            return Standing.NOT_YET
        return Standing.UNKNOWN

    def standing_in(self, release: Release, code: str, on: date | None = None) -> Standing:
        """Judge a code by one held release alone, as of a day of it, or of its start."""
        return self._stands_in(self._find(release), code, on if on is not None and release.covers(on) else None)

    def describe(self, system: CodeSystem, code: str, on: date | None = None) -> str | None:
        """Say in words what a code means.

        Args:
            system: The code's system.
            code: The code in its usual form.
            on: The day of service; null asks the newest release.

        Returns:
            The official words of the day's release, else of the newest that has the code; else, for CPT, HCPCS and
            ICD-10-PCS, our own words, where we have any. Null when nothing is known.
        """
        held = self._held.get(system, ())
        judge = self._judge(system, on)
        for one in [] if judge is None else [judge, *reversed(held)]:
            words = self._words(one, code)
            if words is not None:
                return words
        return WORDS.get((system, code))

    def library(self, release: Release) -> CodeLibrary:
        """The library of one held release of ICD-10-CM."""
        return self._library(self._find(release))

    def table(self, release: Release) -> CodeTable:
        """The codes of one held release of another code system."""
        return self._table(self._find(release))

    def index(self, system: CodeSystem, on: date | None = None) -> SearchIndex | None:
        """The search index of the release that judges a day; null when no release of the system is held."""
        held = self._judge(system, on)
        if held is None:
            return None
        key = held.release.sha256
        if key not in self._indexes:
            self._indexes[key] = (
                embedded_release.search_index() if held.stored is None else tables.search_index(held.stored)
            )
        return self._indexes[key]

    def changed_since(self, system: CodeSystem, day: date) -> frozenset[str]:
        """The codes that releases effective on or after a day added, revised or deleted.

        Args:
            system: Whose codes.
            day: The first day that counts as recent. Of the earliest held release, only changes that it dates
                itself are known.

        Returns:
            Codes in their usual form, headings too.
        """
        if system not in self._changes:
            self._changes[system] = changes_by_day(self, system)
        return frozenset().union(*(codes for changed, codes in self._changes[system] if changed >= day))

    def pair_edits(self, on: date | None) -> PairEdits | None:
        """The pairs not paid together on a day, of the table that judges it; null when none is held."""
        held = self._judge(ReleasedSystem.NCCI_PTP, on)
        if held is None or held.stored is None:
            return None
        key = held.release.sha256
        if key not in self._pairs:
            self._pairs[key] = tables.pair_edits(held.stored)
        return self._pairs[key].on(on)

    def unit_limits(self, on: date | None) -> UnitLimits | None:
        """The most likely units on a day; null when no table is held that covers it (the newest for no day)."""
        held = self._covering(ReleasedSystem.NCCI_MUE, on)
        if held is None or held.stored is None:
            return None
        key = held.release.sha256
        if key not in self._limits:
            self._limits[key] = tables.unit_limits(held.stored)
        return self._limits[key]

    def drg_weights(self, on: date | None) -> Mapping[str, float] | None:
        """Relative weights by MS-DRG, three digits, of the day; null when no table is held that covers it."""
        held = self._covering(ReleasedSystem.MS_DRG, on)
        if held is None or held.stored is None:
            return None
        key = held.release.sha256
        if key not in self._weights:
            self._weights[key] = tables.drg_weights(held.stored)
        return self._weights[key]

    def _judge(self, system: CodeSystem | ReleasedSystem, on: date | None) -> _Held | None:
        held = self._held.get(system)
        if not held:
            return None
        if on is None:
            return held[-1]
        started = [one for one in held if one.release.effective_from <= on]
        return started[-1] if started else held[0]

    def _covering(self, system: ReleasedSystem, on: date | None) -> _Held | None:
        held = self._judge(system, on)
        return held if held is not None and (on is None or held.release.covers(on)) else None

    def _find(self, release: Release) -> _Held:
        return next(held for held in self._held[release.system] if held.release.sha256 == release.sha256)

    def _stands_in(self, held: _Held, code: str, on: date | None) -> Standing:
        if held.release.system in _FLAT:
            return self._table(held).standing(code, on or held.release.effective_from)
        library = self._library(held)
        if library.is_valid(code):
            return Standing.VALID
        return Standing.UNKNOWN if library.get(code) is None else Standing.NOT_A_LEAF

    def _words(self, held: _Held, code: str) -> str | None:
        if held.release.system in _FLAT:
            row = self._table(held).rows.get(code)
            return None if row is None else row.description
        entry = self._library(held).get(code)
        return None if entry is None else entry.description

    def _library(self, held: _Held) -> CodeLibrary:
        key = held.release.sha256
        if key not in self._libraries:
            self._libraries[key] = embedded_release.library() if held.stored is None else tables.library(held.stored)
        return self._libraries[key]

    def _table(self, held: _Held) -> CodeTable:
        key = held.release.sha256
        if key not in self._tables:
            assert held.stored is not None, "flat systems are never embedded"
            self._tables[key] = tables.code_table(held.stored)
        return self._tables[key]
