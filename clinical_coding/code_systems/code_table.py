"""A flat code system of one release: codes with their words and dates, without tree or notes.

ICD-10-PCS, HCPCS Level II and CPT are held like this; ICD-10-CM has a library of its own (``code_library``).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Self

from clinical_coding.code_systems.releases import Standing

__all__ = ["CodeRow", "CodeTable"]


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One code or heading."""

    code: str
    description: str | None
    """Long description; null where the file gives none (CPT numbers alone)."""
    is_heading: bool = False
    """True of an entry that structures the system and stands on no claim."""
    starts: date | None = None
    """First day; null where the release's own start holds."""
    ends: date | None = None
    """Last day; null where none is set."""
    changed: date | None = None
    """The day on which the last change to the code took effect, where the file tells it."""


@dataclass(frozen=True, slots=True)
class CodeTable:
    """The codes of one release by their usual form."""

    rows: dict[str, CodeRow]
    _stems: frozenset[str] = field(default=frozenset())
    """Beginnings of codes that are shorter than a code."""

    @classmethod
    def of(cls, rows: Iterator[CodeRow] | list[CodeRow]) -> Self:
        """Gather rows; their codes are distinct."""
        table = {row.code: row for row in rows}
        # HCPCS and CPT codes have no stems that a record could carry; ICD-10-PCS has, of three characters or more.
        stems = {code[:length] for code in table if len(code) == 7 for length in range(3, 7)}
        return cls(table, frozenset(stems))

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        """Read what :meth:`to_json` wrote."""
        columns = json.loads(body)
        return cls.of(
            [
                CodeRow(code, description, bool(is_heading), _day(starts), _day(ends), _day(changed))
                for code, description, is_heading, starts, ends, changed in zip(*columns, strict=True)
            ]
        )

    def to_json(self) -> bytes:
        """Write the rows as columns, which are read in a fraction of the time of objects."""
        rows = self.rows.values()
        columns = [
            [row.code for row in rows],
            [row.description for row in rows],
            [int(row.is_heading) for row in rows],
            *(
                [_text(day) for day in days]
                for days in zip(*((r.starts, r.ends, r.changed) for r in rows), strict=True)
            ),
        ]
        return json.dumps(columns, separators=(",", ":"), ensure_ascii=False).encode()

    def standing(self, code: str, on: date) -> Standing:
        """Judge a code by this release alone.

        Args:
            code: The code in its usual form.
            on: The day of service.
        """
        row = self.rows.get(code)
        if row is None:
            return Standing.NOT_A_LEAF if code in self._stems else Standing.UNKNOWN
        if row.is_heading:
            return Standing.NOT_A_LEAF
        if row.ends is not None and row.ends < on:
            return Standing.DELETED
        return Standing.NOT_YET if row.starts is not None and on < row.starts else Standing.VALID


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _text(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
