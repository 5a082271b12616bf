"""Conventions: what the Official Guidelines say of groups of codes, as data that the rules read.

The tabular list's own notes are not here; they are read from the tabular list. Source: the entries of
``conventions.yaml`` name their sections.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from clinical_coding.edits.code_sets import CodeSet, parse_codes
from clinical_coding.settings_file import load_settings

__all__ = [
    "AgeGroup",
    "Combined",
    "Conventions",
    "Group",
    "Included",
    "Integral",
    "LaterGroup",
    "SexGroup",
    "SexWords",
    "conventions",
]

_FILE: Final = Path(__file__).with_name("conventions.yaml")

Codes = Annotated[CodeSet, BeforeValidator(parse_codes)]
Words = Annotated[frozenset[str], BeforeValidator(lambda text: frozenset(text.split()))]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Group(_Entry):
    """Codes of which one thing holds."""

    codes: Codes
    because: str
    source: str


class LaterGroup(Group):
    """Codes that may not stand first."""

    inpatient: bool = False
    """True where only claims of hospital stays are returned for it; elsewhere it is worth a look."""


class SexGroup(Group):
    """Codes of one sex."""

    sex: Literal["F", "M"]
    unless: Codes


class SexWords(_Entry):
    """Words of an official title that tell a sex."""

    sex: Literal["F", "M"]
    words: Words
    unless: Words


class AgeGroup(Group):
    """Codes of an age in whole years."""

    first: int
    last: int


class Included(_Entry):
    """Codes that say nothing beside a code that includes them."""

    codes: Codes
    by: Codes
    source: str = "Official Guidelines I.B.9"


class Combined(_Entry):
    """Codes that make one combination code with others."""

    codes: Codes
    beside: Codes
    use: str
    source: str


class Integral(_Entry):
    """Signs and symptoms that are part of diseases."""

    codes: Codes
    to: Codes
    source: str = "Official Guidelines I.B.5"


class Conventions(_Entry):
    """All of them."""

    secondary_only: tuple[LaterGroup, ...]
    underdosing: LaterGroup
    status: tuple[Group, ...]
    first_only: tuple[Group, ...]
    admission_exempt: tuple[Group, ...]
    sexes: tuple[SexGroup, ...]
    sex_words: tuple[SexWords, ...]
    ages: tuple[AgeGroup, ...]
    included: tuple[Included, ...]
    combined: tuple[Combined, ...]
    integral: tuple[Integral, ...]


@cache
def conventions() -> Conventions:
    """Read the conventions, once in a process."""
    return load_settings(_FILE, Conventions)
