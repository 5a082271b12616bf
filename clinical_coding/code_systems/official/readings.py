"""How each system's files are read: which files fit, and what tables come of them.

One entry a system; each writes its tables into a folder and tells counts, what search finds, and what is missing.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from clinical_coding.code_library import load_icd10cm
from clinical_coding.code_systems.code_table import CodeRow, CodeTable
from clinical_coding.code_systems.official.cpt import is_cpt_file, read_cpt_file
from clinical_coding.code_systems.official.hcpcs import is_hcpcs_file, read_hcpcs_file
from clinical_coding.code_systems.official.index_terms import read_index_terms
from clinical_coding.code_systems.official.medicare import (
    DRG_WEIGHTS,
    PAIRS,
    UNITS,
    read_drg_weights,
    read_pairs,
    read_unit_limits,
)
from clinical_coding.code_systems.official.order_file import (
    is_order_file,
    procedure_rows,
    read_order_file,
    write_order_lines,
)
from clinical_coding.code_systems.official.sources import Source
from clinical_coding.code_systems.official.tabular_files import (
    is_tabular_file,
    sort_files,
    stated_version,
    write_tabular,
)
from clinical_coding.code_systems.official.years import check_days, check_title, check_year
from clinical_coding.code_systems.payment_tables import Pair, PairEdits, UnitLimits
from clinical_coding.code_systems.releases import Release, ReleasedSystem
from clinical_coding.code_systems.search import IndexedCode, entries_of_library, entries_of_table
from clinical_coding.code_systems.tables import (
    CODES_FILE,
    LIMITS_FILE,
    ORDER_FILE,
    PAIRS_FILE,
    TABULAR_FILE,
    WEIGHTS_FILE,
    library_of,
)
from clinical_coding.tabular.instructions import InstructionKind

__all__ = ["READINGS", "Content", "Reading"]


@dataclass(frozen=True, slots=True)
class Content:
    """What the files of a release hold."""

    counts: dict[str, int]
    entries: Iterable[IndexedCode] | None = None
    """What search finds; null for tables that are no code system."""
    remarks: tuple[str, ...] = ()
    """What is missing, for whoever imports."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files of one system are read."""

    expected: str
    """The layout in words."""
    fits: Callable[[Source], bool]
    read: Callable[[Sequence[Source], Release, Path], Content]
    """Reads the sources of a release and writes its tables into a folder."""


def _read_icd10cm(sources: Sequence[Source], release: Release, folder: Path) -> Content:
    files = sort_files(sources)
    for source in (files.tabular, files.index):
        version = None if source is None else stated_version(source)
        if source is not None and version is not None:
            where = "its <version>"
            check_year(source, version, system=release.system, effective_from=release.effective_from, where=where)
    lines = read_order_file(files.order)
    (folder / ORDER_FILE).write_bytes(write_order_lines(lines))
    tabular = write_tabular(lines, chapter_of=_known_chapter) if files.tabular is None else files.tabular.body
    (folder / TABULAR_FILE).write_bytes(tabular)
    index_terms = {} if files.index is None else read_index_terms(files.index)
    try:
        library = library_of(folder, release=release.name)
    except ValueError as error:
        # It knows the files by the names that they are kept under, people by those that they gave.
        given = str(error).replace(ORDER_FILE, files.order.name)
        raise ValueError(given if files.tabular is None else given.replace(TABULAR_FILE, files.tabular.name)) from None
    num_codes = len(library.leaves())
    counts = {
        "codes": num_codes,
        "headings": len(lines) - num_codes,
        "notes": sum(len(library.note_blocks(kind)) for kind in InstructionKind),
        "index terms": sum(map(len, index_terms.values())),
    }
    remarks = (
        ()
        if files.tabular is not None
        else (
            "without the tabular XML there are no terms, no notes and no 7th characters: edits by notes find nothing",
        )
    )
    return Content(counts, entries_of_library(library, index_terms=index_terms), remarks)


def _known_chapter(category: str) -> str | None:
    entry = load_icd10cm().get(category)
    return None if entry is None else entry.chapter


def _read_icd10pcs(sources: Sequence[Source], release: Release, folder: Path) -> Content:
    lines = read_order_file(_only(sources))
    return _write_codes(procedure_rows(lines), folder)


def _read_hcpcs(sources: Sequence[Source], release: Release, folder: Path) -> Content:
    source = _only(sources)
    found = read_hcpcs_file(source)
    check_days(source, found.newest, effective_from=release.effective_from)
    return _write_codes(found.codes, folder, modifiers=found.num_modifiers)


def _read_cpt(sources: Sequence[Source], release: Release, folder: Path) -> Content:
    rows = read_cpt_file(_only(sources))
    without = sum(row.description is None for row in rows)
    remarks = (f"{without} codes have no descriptor: they are known, and shown as numbers",) if without else ()
    return _write_codes(rows, folder, remarks=remarks)


def _write_codes(rows: list[CodeRow], folder: Path, *, remarks: tuple[str, ...] = (), **counts: int) -> Content:
    table = CodeTable.of(rows)
    (folder / CODES_FILE).write_bytes(table.to_json())
    num_headings = sum(row.is_heading for row in rows)
    return Content(
        {"codes": len(rows) - num_headings, "headings": num_headings, **counts}, entries_of_table(table), remarks
    )


def _read_ms_drg(sources: Sequence[Source], release: Release, folder: Path) -> Content:
    source = _only(sources)
    _check_table_title(source, DRG_WEIGHTS.sheet(source).title, release)
    weights = read_drg_weights(source)
    (folder / WEIGHTS_FILE).write_text(json.dumps(weights), encoding="utf-8")
    return Content({"groups": len(weights)})


def _read_ncci_ptp(sources: Sequence[Source], release: Release, folder: Path) -> Content:
    for source in sources:
        _check_table_title(source, PAIRS.sheet(source).title, release)
    edits = PairEdits.of(_dated_pairs(sources, release))
    (folder / PAIRS_FILE).write_bytes(edits.to_bytes())
    return Content({"pairs": len(edits)})


def _dated_pairs(sources: Sequence[Source], release: Release) -> Iterator[Pair]:
    for source in sources:
        newest: date | None = None
        for pair in read_pairs(source):
            newest = pair[2] if newest is None or pair[2] > newest else newest
            yield pair
        check_days(source, newest, effective_from=release.effective_from)


def _read_ncci_mue(sources: Sequence[Source], release: Release, folder: Path) -> Content:
    source = _only(sources)
    _check_table_title(source, UNITS.sheet(source).title, release)
    limits = UnitLimits(read_unit_limits(source))
    (folder / LIMITS_FILE).write_bytes(limits.to_json())
    return Content({"limits": len(limits.rows)})


def _check_table_title(source: Source, title: str, release: Release) -> None:
    check_title(source, title, system=release.system, effective_from=release.effective_from)


def _only(sources: Sequence[Source]) -> Source:
    if len(sources) != 1:
        names = ", ".join(source.name for source in sources)
        raise ValueError(f"{names}: one file is expected, {len(sources)} were found; name the one that is meant")
    return sources[0]


READINGS: Final[Mapping[ReleasedSystem, Reading]] = {
    ReleasedSystem.ICD10CM: Reading(
        "ICD-10-CM: the order file, with or without the tabular XML and the index XML", is_tabular_file, _read_icd10cm
    ),
    ReleasedSystem.ICD10PCS: Reading(
        "the ICD-10-PCS order file", lambda source: is_order_file(source, icd10pcs=True), _read_icd10pcs
    ),
    ReleasedSystem.HCPCS: Reading("HCPCS Level II, ANWEB text or workbook", is_hcpcs_file, _read_hcpcs),
    ReleasedSystem.CPT: Reading("CPT: a table or list of codes", is_cpt_file, _read_cpt),
    ReleasedSystem.MS_DRG: Reading("CMS Table 5, relative weights of MS-DRGs", DRG_WEIGHTS.fits, _read_ms_drg),
    ReleasedSystem.NCCI_PTP: Reading("NCCI PTP edits", PAIRS.fits, _read_ncci_ptp),
    ReleasedSystem.NCCI_MUE: Reading("the NCCI MUE table", UNITS.fits, _read_ncci_mue),
}
