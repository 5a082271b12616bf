"""From the files of a stored release to the tables that are asked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from clinical_coding.code_library import CodeLibrary
from clinical_coding.code_systems.code_table import CodeTable
from clinical_coding.code_systems.payment_tables import PairEdits, UnitLimits
from clinical_coding.code_systems.search import SearchIndex
from clinical_coding.code_systems.store import StoredRelease

__all__ = [
    "CODES_FILE",
    "INDEX_FILE",
    "LIMITS_FILE",
    "ORDER_FILE",
    "PAIRS_FILE",
    "TABULAR_FILE",
    "WEIGHTS_FILE",
    "code_table",
    "drg_weights",
    "library",
    "library_of",
    "pair_edits",
    "search_index",
    "unit_limits",
]

ORDER_FILE: Final = "order.txt"
TABULAR_FILE: Final = "tabular.xml"
CODES_FILE: Final = "codes.json"
INDEX_FILE: Final = "search.db"
PAIRS_FILE: Final = "pairs.bin"
LIMITS_FILE: Final = "limits.json"
WEIGHTS_FILE: Final = "weights.json"


def library(stored: StoredRelease) -> CodeLibrary:
    """Read an imported release of ICD-10-CM, through the user's cache."""
    for name in (ORDER_FILE, TABULAR_FILE):
        stored.verify(name)
    return library_of(stored.folder, release=stored.release.name)


def library_of(folder: Path, *, release: str) -> CodeLibrary:
    """Read the official files of ICD-10-CM that lie in a folder.

    Raises:
        ValueError: A file is not what it should be, or the two are of different releases.
    """
    return CodeLibrary.from_files(folder / TABULAR_FILE, folder / ORDER_FILE, release=release)


def code_table(stored: StoredRelease) -> CodeTable:
    """Read the codes of a flat system."""
    return CodeTable.from_json(stored.read(CODES_FILE))


def search_index(stored: StoredRelease) -> SearchIndex:
    """Open the index that was built when the release was imported.

    Raises:
        ValueError: It is not what was imported.
    """
    stored.verify(INDEX_FILE)
    return SearchIndex(stored.path(INDEX_FILE), remedy=stored.remedy)


def pair_edits(stored: StoredRelease) -> PairEdits:
    """Read the pairs not paid together."""
    return PairEdits.from_bytes(stored.read(PAIRS_FILE))


def unit_limits(stored: StoredRelease) -> UnitLimits:
    """Read the most likely units."""
    return UnitLimits.from_json(stored.read(LIMITS_FILE))


def drg_weights(stored: StoredRelease) -> Mapping[str, float]:
    """Read relative weights by MS-DRG."""
    weights: dict[str, float] = json.loads(stored.read(WEIGHTS_FILE))
    return weights
