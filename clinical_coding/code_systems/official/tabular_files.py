"""The files of a release of ICD-10-CM: the order file, the tabular XML, the Alphabetic Index.

The code library reads an order file and a tabular list. Where the order file comes alone, a tabular list is written
from it: headings nest as the codes do, titles are the long descriptions, and there are no terms, no notes and no
definitions of 7th characters.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from clinical_coding.code_systems.official.index_terms import ROOT as INDEX_ROOT
from clinical_coding.code_systems.official.order_file import OrderLine, is_order_file
from clinical_coding.code_systems.official.sources import Source
from clinical_coding.codes import CodeSystem, normalise_code

__all__ = ["ReleaseFiles", "is_tabular_file", "sort_files", "stated_version", "write_tabular"]

_TABULAR_ROOT: Final = "ICD10CM.tabular"
_ROOT_TAG: Final = re.compile(r"<(ICD10CM\.[a-z]+)")
_VERSION: Final = re.compile(r"<version>\s*(\d{4})\s*</version>")
# Indexes of external causes, drugs and neoplasms have the same root; their terms are tables of their own.
_OTHER_INDEXES: Final = re.compile(r"eindex|e-index|drug|neoplasm", re.IGNORECASE)
_HEAD: Final = 4096
_UNKNOWN_CHAPTER: Final = "Chapter not stated"


@dataclass(frozen=True, slots=True)
class ReleaseFiles:
    """What was given, by role."""

    order: Source
    tabular: Source | None
    index: Source | None


def is_tabular_file(source: Source) -> bool:
    """Tell whether a file has one of the three roles."""
    return _role(source) is not None


def sort_files(sources: Sequence[Source]) -> ReleaseFiles:
    """Give each file its role.

    Raises:
        ValueError: There is no order file, or two files have one role.
    """
    by_role: dict[str, Source] = {}
    for source in sources:
        role = _role(source)
        assert role is not None, "files that fit no role were refused"
        if role in by_role:
            raise ValueError(f"{by_role[role].name} and {source.name} are both the {role}; name one of them")
        by_role[role] = source
    if "order file" not in by_role:
        raise ValueError(
            f"{', '.join(source.name for source in sources)}: the order file is missing, which tells the codes that "
            "are valid; name icd10cm_order_YYYY.txt too (it lies in CMS's archive of code descriptions)"
        )
    return ReleaseFiles(by_role["order file"], by_role.get("tabular list"), by_role.get("Alphabetic Index"))


def stated_version(source: Source) -> int | None:
    """The fiscal year that a tabular list or index states."""
    found = _VERSION.search(source.body[:_HEAD].decode("utf-8", errors="replace"))
    return int(found[1]) if found else None


def write_tabular(lines: Sequence[OrderLine], *, chapter_of: Callable[[str], str | None]) -> bytes:
    """Write a tabular list that says what an order file alone can say.

    Args:
        lines: Of the order file.
        chapter_of: The chapter's title by category, where it is known from another release.

    Raises:
        ValueError: A code has no category above it.
    """
    root = ET.Element(_TABULAR_ROOT)
    chapter: ET.Element | None = None
    title = ""
    above: list[tuple[str, ET.Element]] = []
    for line in lines:
        while above and not line.code.startswith(above[-1][0]):
            above.pop()
        if not above:
            wanted = chapter_of(line.code) or title or _UNKNOWN_CHAPTER
            if chapter is None or wanted != title:
                title = wanted
                chapter = _chapter(root, title, first=line.code)
            parent = chapter[-1]
        else:
            parent = above[-1][1]
        if not above and len(line.code) != len("I21"):
            raise ValueError(f"code {line.code} of the order file has no category above it; fetch the file anew")
        above.append((line.code, _diagnosis(parent, line)))
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body


def _role(source: Source) -> str | None:
    if is_order_file(source, icd10pcs=False):
        return "order file"
    root = _ROOT_TAG.search(source.body[:_HEAD].decode("utf-8", errors="replace"))
    if root is None:
        return None
    if root[1] == _TABULAR_ROOT:
        return "tabular list"
    return "Alphabetic Index" if root[1] == INDEX_ROOT and not _OTHER_INDEXES.search(source.name) else None


def _chapter(root: ET.Element, title: str, *, first: str) -> ET.Element:
    chapter = ET.SubElement(root, "chapter")
    ET.SubElement(chapter, "name").text = str(len(root))
    ET.SubElement(chapter, "desc").text = title
    section = ET.SubElement(chapter, "section", id=first)
    ET.SubElement(section, "desc").text = title
    return chapter


def _diagnosis(parent: ET.Element, line: OrderLine) -> ET.Element:
    element = ET.SubElement(parent, "diag")
    ET.SubElement(element, "name").text = normalise_code(CodeSystem.ICD10CM, line.code)
    ET.SubElement(element, "desc").text = line.description
    return element
