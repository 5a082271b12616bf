"""Which MS-DRG version holds on which discharge date.

It knows dates and names alone; the tables are ``grouper``'s business. Source: the CMS MS-DRG Definitions Manuals
v36 to v43.1. The tables that the package has for v37, v38 and v39 are those of their last midyear editions (v37.2,
v38.1, v39.1), which only add codes; v40.1 is missing.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

__all__ = ["VERSIONS", "VersionChoice", "choose_version"]

VERSIONS: Final[dict[str, date]] = {
    "v36": date(2018, 10, 1),
    "v37": date(2019, 10, 1),
    "v38": date(2020, 10, 1),
    "v39": date(2021, 10, 1),
    "v40": date(2022, 10, 1),
    "v41": date(2023, 10, 1),
    "v41.1": date(2024, 4, 1),
    "v42": date(2024, 10, 1),
    "v42.1": date(2025, 4, 1),
    "v43": date(2025, 10, 1),
    "v43.1": date(2026, 4, 1),
}
"""Names of the versions held, with the first discharge date of each."""

_LAST: Final = "v43.1"
_LAST_END: Final = date(2026, 9, 30)
# A version that came into force and is not held: the one before is used, and said to be another.
_MISSING: Final[dict[str, date]] = {"v40": date(2023, 3, 31)}


@dataclass(frozen=True, slots=True)
class VersionChoice:
    """The version to group by."""

    name: str
    is_of_date: bool
    """True when it is the version in force on the date."""
    remark: str | None
    """Why another is used, where one is."""


def choose_version(on: date | None) -> VersionChoice:
    """Choose the version for a discharge date: the one in force, else the nearest held.

    Args:
        on: Discharge date; null when it is not known, and the newest version is used.
    """
    if on is None:
        return VersionChoice(_LAST, False, f"the discharge date is not known; {_LAST}, the newest held, is used")
    first = next(iter(VERSIONS))
    if on < VERSIONS[first]:
        return VersionChoice(first, False, _another(on, first, VERSIONS[first], _end_of(first)))
    name = max((name for name, start in VERSIONS.items() if start <= on), key=lambda name: VERSIONS[name])
    if on > _end_of(name):
        return VersionChoice(name, False, _another(on, name, VERSIONS[name], _end_of(name)))
    return VersionChoice(name, True, None)


def _end_of(name: str) -> date:
    if name in _MISSING:
        return _MISSING[name]
    followers = dict(pairwise(VERSIONS))
    return VERSIONS[followers[name]] - timedelta(days=1) if name in followers else _LAST_END


def _another(on: date, name: str, start: date, end: date) -> str:
    return f"no version held is in force on the discharge date {on}; {name} ({start} to {end}), the nearest, is used"
