"""Releases: which dated edition of a code system holds, and from when to when.

A release says what it is and where it comes from; its codes lie in tables beside it. It knows no record.
The rule of dates: a release holds from its start to its own stated end, or, where it states none, to the day before
the next release of its system. Stated dates that overlap are refused when the release is imported.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from clinical_coding.artefact import Artefact
from clinical_coding.manifest import Sha256
from clinical_coding.records import SCHEMA_VERSION

__all__ = ["Release", "ReleasedSystem", "Standing", "check_name", "fiscal_year", "in_order", "refuse_overlap"]

_NAME = re.compile(r"^\d{4}-(0[1-9]|1[0-2])$")


class ReleasedSystem(StrEnum):
    """What comes in dated releases: the four code systems, and the tables of Medicare that speak of their codes.

    A code system has the same value here as in ``codes.CodeSystem``.
    """

    ICD10CM = "icd10cm"
    ICD10PCS = "icd10pcs"
    HCPCS = "hcpcs"
    CPT = "cpt"
    MS_DRG = "ms-drg"
    """Relative weights of MS-DRGs (CMS Table 5)."""
    NCCI_PTP = "ncci-ptp"
    """Pairs of procedures that are not paid together (National Correct Coding Initiative)."""
    NCCI_MUE = "ncci-mue"
    """Most units of service that are likely (NCCI's medically unlikely edits)."""

    @property
    def follows_fiscal_year(self) -> bool:
        """True of systems whose year begins in October; the others follow the calendar."""
        return self in {ReleasedSystem.ICD10CM, ReleasedSystem.ICD10PCS, ReleasedSystem.MS_DRG}

    def year_of(self, day: date) -> int:
        """The year that this system's own files bear when they take effect on a day."""
        return fiscal_year(day) if self.follows_fiscal_year else day.year


class Standing(StrEnum):
    """What the held releases say of a code on a date."""

    VALID = "valid"
    """It can stand on a claim."""
    NOT_YET = "not-yet-effective"
    """Only a later release has it."""
    DELETED = "deleted"
    """An earlier release had it, or its own end date has passed."""
    NOT_A_LEAF = "not-a-leaf"
    """It is a heading: more characters are due."""
    UNKNOWN = "unknown"
    """No held release ever had it in any form."""
    NOT_HELD = "not-held"
    """No release of its system is held, so that nothing but its form can be judged."""


class Release(Artefact):
    """release.json: one dated edition of a code system or table."""

    schema_version: Literal[1] = SCHEMA_VERSION
    system: ReleasedSystem
    name: Annotated[str, Field(pattern=_NAME.pattern)]
    """Year and month of its start, ``2026-10``."""
    effective_from: date
    effective_to: date | None
    """Last day; null where the release does not state one, and holds until the next."""
    sha256: Sha256
    """Of the content: of the source files' hashes, whatever they are called."""
    sources: dict[str, Sha256]
    """Names of the official files that it was read from, without folders, with their hashes."""
    counts: dict[str, int]
    """How many codes, headings, pairs and so on it holds, by word."""
    files: dict[str, Sha256] = Field(default_factory=dict)
    """What lies beside release.json, with hashes; empty for the embedded release."""

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.effective_to is not None and self.effective_to < self.effective_from:
            raise ValueError(f"effective_to {self.effective_to} must not be before effective_from; correct one of them")
        return self

    def covers(self, day: date) -> bool:
        """Tell whether it holds on a day."""
        return self.effective_from <= day and (self.effective_to is None or day <= self.effective_to)

    def describe(self) -> str:
        """Name it for people: ``icd10cm 2026-04 (2026-04-01 to 2026-09-30)``."""
        return f"{self.system} {self.name} ({self.effective_from} to {self.effective_to or 'the next release'})"


def fiscal_year(day: date) -> int:
    """The federal fiscal year, which begins in October of the year before and names code releases."""
    return day.year + (day.month >= 10)


def check_name(name: str, *, effective_from: date) -> None:
    """Refuse a release name that is not the month in which the release takes effect.

    Raises:
        ValueError: It is no year and month, or another one.
    """
    expected = f"{effective_from:%Y-%m}"
    if not _NAME.fullmatch(name):
        raise ValueError(f"release {name!r} is not a year and month; name it by its start, here {expected}")
    if name != expected:
        raise ValueError(
            f"release {name!r} does not fit effective-from {effective_from}; a release is named by the month of its "
            f"start, here {expected}: correct the one or the other"
        )


def in_order(releases: Iterable[Release]) -> tuple[Release, ...]:
    """Sort one system's releases by start, and give each without a stated end the day before the next one's start."""
    ordered = sorted(releases, key=lambda release: release.effective_from)
    ended = [
        release
        if release.effective_to is not None
        else release.model_copy(update={"effective_to": following.effective_from - timedelta(days=1)})
        for release, following in pairwise(ordered)
    ]
    return (*ended, *ordered[-1:])


def refuse_overlap(new: Release, *, held: Sequence[Release]) -> None:
    """Refuse a release whose dates run into those of another of its system.

    Args:
        new: The release to be added.
        held: The system's releases as they were stored.

    Raises:
        ValueError: Two start on one day or in one month, or a stated end lies on or after another's start.
    """
    for other in held:
        first, second = sorted((new, other), key=lambda release: release.effective_from)
        same_start = first.effective_from == second.effective_from
        if not same_start and (first.effective_to is None or first.effective_to < second.effective_from):
            continue
        raise ValueError(f"{new.describe()} overlaps {other.describe()}; {_remedy(new, first=first, second=second)}")
    for other in held:
        if other.name == new.name:
            raise ValueError(
                f"{new.describe()} has the name of {other.describe()}, which is held already, so that nobody could "
                "name the one or the other; give an --effective-from in another month, and its --release"
            )


def _remedy(new: Release, *, first: Release, second: Release) -> str:
    if first.effective_from == second.effective_from:
        return "one release starts on a day: give the right --effective-from"
    if first is new:
        return f"give --effective-to {second.effective_from - timedelta(days=1)} or earlier"
    assert first.effective_to is not None, "what states no end overlaps nothing that starts later"
    return f"give --effective-from {first.effective_to + timedelta(days=1)} or later"
