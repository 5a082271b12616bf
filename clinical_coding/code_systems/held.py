"""One held release, and what is read of it: each table when it is first asked for, and then kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final

from clinical_coding.code_library import CodeLibrary
from clinical_coding.code_systems import embedded as embedded_release
from clinical_coding.code_systems import tables
from clinical_coding.code_systems.code_table import CodeTable
from clinical_coding.code_systems.payment_tables import PairEdits, UnitLimits
from clinical_coding.code_systems.releases import Release, ReleasedSystem, Standing
from clinical_coding.code_systems.search import SearchIndex
from clinical_coding.code_systems.store import StoredRelease

__all__ = ["HeldRelease"]

_FLAT: Final = (ReleasedSystem.ICD10PCS, ReleasedSystem.HCPCS, ReleasedSystem.CPT)


@dataclass(frozen=True)
class HeldRelease:
    """A release in its place among the others."""

    release: Release
    """With the end that follows from the next release."""
    stored: StoredRelease | None
    """Null for the embedded release."""

    @cached_property
    def library(self) -> CodeLibrary:
        """The codes of ICD-10-CM."""
        return embedded_release.library() if self.stored is None else tables.library(self.stored)

    @cached_property
    def table(self) -> CodeTable:
        """The codes of a flat system."""
        return tables.code_table(self._files)

    @cached_property
    def index(self) -> SearchIndex:
        """The search index of a code system."""
        return embedded_release.search_index() if self.stored is None else tables.search_index(self.stored)

    @cached_property
    def pair_edits(self) -> PairEdits:
        """The pairs not paid together, of every day that they know."""
        return tables.pair_edits(self._files)

    @cached_property
    def unit_limits(self) -> UnitLimits:
        """The most likely units."""
        return tables.unit_limits(self._files)

    @cached_property
    def drg_weights(self) -> Mapping[str, float]:
        """Relative weights by MS-DRG."""
        return tables.drg_weights(self._files)

    def standing(self, code: str, on: date | None) -> Standing:
        """Judge a code by this release alone: valid, a heading, or unknown; a flat system's codes by the day too."""
        if self.release.system in _FLAT:
            return self.table.standing(code, on or self.release.effective_from)
        if self.library.is_valid(code):
            return Standing.VALID
        return Standing.UNKNOWN if self.library.get(code) is None else Standing.NOT_A_LEAF

    def words(self, code: str) -> str | None:
        """What a code means in this release; null where it does not have it."""
        if self.release.system in _FLAT:
            row = self.table.rows.get(code)
            return None if row is None else row.description
        entry = self.library.get(code)
        return None if entry is None else entry.description

    @property
    def _files(self) -> StoredRelease:
        assert self.stored is not None, "ICD-10-CM alone is embedded"
        return self.stored
