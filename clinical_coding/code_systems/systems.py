"""All code systems that are held, by release: which one is in force on a day, and what it says of a code.

Readers, edits, queries, grouping, decisions and routing ask here. Tables are read when first asked for, and kept.
It knows no encounter; the day to ask for is ``dates.date_of_coding``'s business.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path

from clinical_coding.code_library import ICD10CM_RELEASE, CodeLibrary
from clinical_coding.code_systems import embedded as embedded_release
from clinical_coding.code_systems.changes import changes_by_day
from clinical_coding.code_systems.code_table import CodeTable
from clinical_coding.code_systems.held import HeldRelease
from clinical_coding.code_systems.payment_tables import PairEdits, UnitLimits
from clinical_coding.code_systems.releases import Release, ReleasedSystem, Standing, in_order
from clinical_coding.code_systems.search import SearchIndex
from clinical_coding.code_systems.store import StoredRelease, stored_releases
from clinical_coding.codes import CodeSystem
from clinical_coding.procedure_words import WORDS

__all__ = ["CodeSystems"]


class CodeSystems:
    """The held releases of every system."""

    def __init__(self, stored: Sequence[StoredRelease]) -> None:
        by_hash = {one.release.sha256: one for one in stored}
        self._held: dict[str, tuple[HeldRelease, ...]] = {}
        for system in ReleasedSystem:
            releases = [one.release for one in stored if one.release.system is system]
            # An imported release of the embedded one's name is the same edition, and takes its place.
            if system is ReleasedSystem.ICD10CM and all(release.name != ICD10CM_RELEASE for release in releases):
                releases.append(embedded_release.release())
            if releases:
                self._held[system] = tuple(
                    HeldRelease(release, by_hash.get(release.sha256)) for release in in_order(releases)
                )
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
        return held.library

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
        standing = judge.standing(code, on)
        if standing is not Standing.UNKNOWN:
            return standing
        # What the release of the day does not know may be known before or after it.
        place = held.index(judge)
        if any(other.standing(code, None) is not Standing.UNKNOWN for other in held[:place]):
            return Standing.DELETED
        if any(other.standing(code, None) is not Standing.UNKNOWN for other in held[place + 1 :]):
            return Standing.NOT_YET
        return Standing.UNKNOWN

    def standing_in(self, release: Release, code: str, on: date | None = None) -> Standing:
        """Judge a code by one held release alone, as of a day of it, or of its start."""
        return self._find(release).standing(code, on if on is not None and release.covers(on) else None)

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
            words = one.words(code)
            if words is not None:
                return words
        return WORDS.get((system, code))

    def library(self, release: Release) -> CodeLibrary:
        """The library of one held release of ICD-10-CM."""
        return self._find(release).library

    def table(self, release: Release) -> CodeTable:
        """The codes of one held release of another code system."""
        return self._find(release).table

    def index(self, system: CodeSystem, on: date | None = None) -> SearchIndex | None:
        """The search index of the release that judges a day; null when no release of the system is held."""
        held = self._judge(system, on)
        return None if held is None else held.index

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
        return None if held is None else held.pair_edits.on(on)

    def unit_limits(self, on: date | None) -> UnitLimits | None:
        """The most likely units on a day; null when no table is held that covers it (the newest for no day)."""
        held = self._covering(ReleasedSystem.NCCI_MUE, on)
        return None if held is None else held.unit_limits

    def drg_weights(self, on: date | None) -> Mapping[str, float] | None:
        """Relative weights by MS-DRG, three digits, of the day; null when no table is held that covers it."""
        held = self._covering(ReleasedSystem.MS_DRG, on)
        return None if held is None else held.drg_weights

    def _judge(self, system: CodeSystem | ReleasedSystem, on: date | None) -> HeldRelease | None:
        held = self._held.get(system)
        if not held:
            return None
        if on is None:
            return held[-1]
        started = [one for one in held if one.release.effective_from <= on]
        return started[-1] if started else held[0]

    def _covering(self, system: ReleasedSystem, on: date | None) -> HeldRelease | None:
        held = self._judge(system, on)
        return held if held is not None and (on is None or held.release.covers(on)) else None

    def _find(self, release: Release) -> HeldRelease:
        return next(held for held in self._held[release.system] if held.release.sha256 == release.sha256)
