"""A file of another year than the release that it is imported as: found by the years that the file itself bears."""

import re
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

from clinical_coding.code_systems.official.sources import Source
from clinical_coding.code_systems.releases import ReleasedSystem

__all__ = ["check_days", "check_names", "check_title", "check_year"]

# icd10cm_order_2026.txt, icd10cm-tabular-2026.xml, HCPC2026_ANWEB.txt: the year that the system counts by.
_VERSION: Final = re.compile(r"(?:order|tabular|index|hcpc|fy)[_ -]{0,3}(20\d\d)(?!\d)", re.IGNORECASE)
_ANY_YEAR: Final = re.compile(r"(?<!\d)(20\d\d)(?!\d)")
_FISCAL: Final = re.compile(r"\bFY\s*(20\d\d)\b")
_EFFECTIVE: Final = re.compile(r"effective[^\d\n]{0,24}(?:\d{1,2},? +|\d{1,2}/\d{1,2}/)?(20\d\d)\b", re.IGNORECASE)


def check_year(source: Source, year: int, *, system: ReleasedSystem, effective_from: date, where: str) -> None:
    """Refuse a file whose own year is another than the release's.

    Raises:
        ValueError: It is.
    """
    expected = system.year_of(effective_from)
    if year != expected:
        kind = "fiscal year" if system.follows_fiscal_year else "year"
        raise ValueError(
            f"{source.name} is of {kind} {year}, told by {where}, but a release that starts on {effective_from} is of "
            f"{kind} {expected}; name the file of {expected}, or correct --release and --effective-from"
        )


def check_names(sources: Iterable[Source], *, system: ReleasedSystem, effective_from: date) -> None:
    """Compare the years in the files' names with the release.

    Raises:
        ValueError: A name tells another year.
    """
    for source in sources:
        version = _VERSION.search(source.name)
        if version:
            check_year(source, int(version[1]), system=system, effective_from=effective_from, where="its name")
            continue
        years = [int(year) for year in _ANY_YEAR.findall(source.name)]
        # Names such as april-1-2026-tabular tell the day of effect, whatever year the system counts by.
        if years and not {effective_from.year, system.year_of(effective_from)} & set(years):
            check_year(source, years[-1], system=system, effective_from=effective_from, where="its name")


def check_title(source: Source, title: str, *, system: ReleasedSystem, effective_from: date) -> None:
    """Compare the year in a table's title or headings with the release.

    Raises:
        ValueError: The title tells another year.
    """
    pattern = _FISCAL if system.follows_fiscal_year else _EFFECTIVE
    for year in pattern.findall(title):
        check_year(source, int(year), system=system, effective_from=effective_from, where="its title")


def check_days(source: Source, newest: date | None, *, effective_from: date) -> None:
    """Refuse a file that speaks of days long after the release.

    Args:
        source: The file.
        newest: The latest day on which anything in it takes effect.
        effective_from: Start of the release. A quarter's file may announce what the next quarters bring.

    Raises:
        ValueError: Something takes effect more than a year after the release.
    """
    end = effective_from + timedelta(days=366)
    if newest is not None and newest > end:
        raise ValueError(
            f"{source.name} is of a later release: it has codes that take effect on {newest}, after {end}; name the "
            "file of this release, or correct --release and --effective-from"
        )
