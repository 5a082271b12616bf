"""The official files of a release: the tabular list (XML, CDC/NCHS) and the list of its codes (text).

The XML has titles, terms, notes and the definitions of 7th characters; which codes they make is
told by the code list alone: the CMS order file, or a list of one undotted code a line. Knows
nothing of what a note means.
"""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clinical_coding.tabular.instructions import InstructionKind

__all__ = ["CodeList", "Division", "PrintedNote", "TabularList", "read_code_list", "read_tabular_list"]

_ROOT: Final = "ICD10CM.tabular"
_NOTE_TAGS: Final = {
    "excludes1": InstructionKind.EXCLUDES1,
    "excludes2": InstructionKind.EXCLUDES2,
    "codeFirst": InstructionKind.CODE_FIRST,
    "useAdditionalCode": InstructionKind.USE_ADDITIONAL,
    "codeAlso": InstructionKind.CODE_ALSO,
    "includes": InstructionKind.INCLUDES,
}
_ORDER_LINE: Final = re.compile(r"\d{5} ([A-Z][0-9A-Z]{2,6}) +([01]) .*")
"""CMS order file: order number in columns 1 to 5, code in 7 to 13, in 15 a 1 when it is valid on a claim."""
_ENTRY: Final = re.compile(r"[A-Z][0-9A-Z]{2,6}")
_DIVISION: Final = re.compile(r"\d{1,2}|[A-Z][0-9A-Z]{2}-[A-Z][0-9A-Z]{2}")
"""Chapters and blocks, which the embedded list names among the codes."""


@dataclass(frozen=True, slots=True)
class CodeList:
    """The undotted codes of a release, without chapters and blocks."""

    name: str
    """The file's name, for messages."""
    codes: frozenset[str]
    valid: frozenset[str] | None
    """The codes that can stand on a claim; null when the file does not say."""


@dataclass(frozen=True, slots=True)
class Division:
    """A chapter or block, as an interval of rows."""

    name: str
    title: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PrintedNote:
    """One note as it is printed, with the rows that it holds for."""

    kind: InstructionKind
    owner: str
    start: int
    stop: int
    lines: tuple[str, ...]


@dataclass
class TabularList:
    """One tabular list, 7th characters applied, in tabular order."""

    codes: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    """Empty for a code that a 7th character makes: its title is its parent's and the character's."""
    terms: dict[int, list[str]] = field(default_factory=dict)
    extensions: list[dict[str, str]] = field(default_factory=list)
    """Definitions of 7th characters: words by character."""
    extended: dict[int, int] = field(default_factory=dict)
    """Which definition the codes below a row are made by."""
    chapters: list[Division] = field(default_factory=list)
    blocks: list[Division] = field(default_factory=list)
    notes: list[PrintedNote] = field(default_factory=list)


def read_code_list(path: Path) -> CodeList:
    """Read a CMS order file or a list of one undotted code a line.

    Raises:
        ValueError: The file is empty, in another layout, or names a code twice.
    """
    lines = _read_text(path).splitlines()
    ordered = bool(lines) and _ORDER_LINE.fullmatch(lines[0]) is not None
    codes: dict[str, bool] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (not ordered and _DIVISION.fullmatch(line.strip())):
            continue
        code, valid = _read_order_line(line) if ordered else (_read_entry(line), True)
        if code is None:
            raise ValueError(
                f"{path.name} line {number}: not a line of a code list; expected the CMS order file "
                "(icd10cm_order_YYYY.txt) or one undotted code a line; fetch the file anew"
            )
        # The plain list names a block of a single category, and that category, by the same word.
        if code in codes and (ordered or len(code) > 3):
            raise ValueError(f"{path.name} line {number}: code {code} stands there twice; fetch the file anew")
        codes[code] = valid
    if not codes:
        raise ValueError(f"{path.name} holds no code; fetch the file anew")
    return CodeList(path.name, frozenset(codes), frozenset(c for c, v in codes.items() if v) if ordered else None)


def read_tabular_list(path: Path, code_list: CodeList) -> TabularList:
    """Read the tabular XML.

    Raises:
        ValueError: The file is cut short, is another kind of XML, names a code twice, or does not
            hold the same codes as the code list.
    """
    try:
        root = ET.fromstring(path.read_bytes())
    except ET.ParseError as error:
        raise ValueError(f"{path.name} is not whole XML ({error}); fetch the file anew") from None
    if root.tag != _ROOT:
        raise ValueError(f"{path.name} has the root element <{root.tag}>, expected <{_ROOT}>; give the tabular XML")
    reader = _TreeReader(path.name, code_list.codes)
    for chapter in root.iter("chapter"):
        reader.read_chapter(chapter)
    _check_same_codes(reader.tabular, code_list, name=path.name)
    return reader.tabular


class _TreeReader:
    """Walks the XML once, in tabular order."""

    def __init__(self, name: str, listed: frozenset[str]) -> None:
        self.tabular = TabularList()
        self._name = name
        self._listed = listed
        self._seen: set[str] = set()

    def read_chapter(self, element: ET.Element) -> None:
        start = len(self.tabular.codes)
        for section in element.iter("section"):
            self._read_block(section)
        division = Division(self._text(element, "name"), self._text(element, "desc"), start, len(self.tabular.codes))
        self.tabular.chapters.append(division)
        self._read_notes(element, division.name, start)

    def _read_block(self, element: ET.Element) -> None:
        start = len(self.tabular.codes)
        for child in element.iterfind("diag"):
            self._read_code(child, parent=-1, definition=None)
        name = element.get("id") or ""
        self.tabular.blocks.append(Division(name, self._text(element, "desc"), start, len(self.tabular.codes)))
        self._read_notes(element, name, start)

    def _read_code(self, element: ET.Element, *, parent: int, definition: int | None) -> None:
        """Read a code and all below it.

        Args:
            element: The code's element.
            parent: Row of the entry above.
            definition: The 7th characters that hold here, from above.
        """
        row, code = self._add(self._text(element, "name"), parent=parent, title=self._text(element, "desc"))
        terms = [note.text for group in element.iterfind("inclusionTerm") for note in group if note.text]
        if terms:
            self.tabular.terms[row] = terms
        own = element.find("sevenChrDef")
        if own is not None:
            self.tabular.extensions.append(_read_extensions(own))
            definition = len(self.tabular.extensions) - 1
        children = element.findall("diag")
        for child in children:
            self._read_code(child, parent=row, definition=definition)
        if not children and definition is not None:
            self._extend(row, code, definition)
        self.tabular.stops[row] = len(self.tabular.codes)
        self._read_notes(element, code, row)

    def _extend(self, row: int, code: str, definition: int) -> None:
        """Add the codes that 7th characters make; the code list tells which of them exist."""
        base = (code if len(code) > 3 else f"{code}.").ljust(7, "X")
        for character in self.tabular.extensions[definition]:
            extended = base + character
            if extended.replace(".", "") in self._listed:
                self._add(extended, parent=row, title="")
                self.tabular.extended[row] = definition

    def _add(self, code: str, *, parent: int, title: str) -> tuple[int, str]:
        if code in self._seen:
            raise ValueError(f"{self._name}: code {code} stands there twice; fetch the file anew")
        self._seen.add(code)
        row = len(self.tabular.codes)
        self.tabular.codes.append(code)
        self.tabular.parents.append(parent)
        self.tabular.stops.append(row + 1)
        self.tabular.titles.append(title)
        return row, code

    def _read_notes(self, element: ET.Element, owner: str, start: int) -> None:
        for child in element:
            kind = _NOTE_TAGS.get(child.tag)
            lines = tuple(note.text for note in child if note.text) if kind else ()
            if kind and lines:
                self.tabular.notes.append(PrintedNote(kind, owner, start, len(self.tabular.codes), lines))

    def _text(self, element: ET.Element, tag: str) -> str:
        text = element.findtext(tag)
        if not text:
            raise ValueError(f"{self._name}: a <{element.tag}> has no <{tag}>; fetch the file anew")
        return text


def _read_extensions(element: ET.Element) -> dict[str, str]:
    """Read 7th characters; what a <note> adds to one is joined to its words by a slash."""
    words: dict[str, str] = {}
    last = ""
    for child in element:
        if child.tag == "extension":
            last = child.get("char", "")
            words[last] = child.text or ""
        elif child.tag == "note" and last and child.text:
            words[last] += f"/{child.text}"
    return words


def _read_order_line(line: str) -> tuple[str | None, bool]:
    match = _ORDER_LINE.fullmatch(line)
    return (match[1], match[2] == "1") if match else (None, False)


def _read_entry(line: str) -> str | None:
    code = line.strip().replace(".", "")
    return code if _ENTRY.fullmatch(code) else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text; unpack it, or fetch the file anew") from None


def _check_same_codes(tabular: TabularList, code_list: CodeList, *, name: str) -> None:
    """Refuse files of two different releases."""
    listed = code_list.codes if code_list.valid is None else code_list.valid
    read = {
        code.replace(".", "")
        for row, code in enumerate(tabular.codes)
        if code_list.valid is None or tabular.stops[row] == row + 1
    }
    kind = "codes" if code_list.valid is None else "codes that are valid on a claim"
    for codes, here, there in ((read - listed, name, code_list.name), (listed - read, code_list.name, name)):
        if codes:
            raise ValueError(
                f"{len(codes)} {kind} are in {here} and not in {there}, such as {', '.join(sorted(codes)[:3])}; "
                "give the tabular XML and the code list of one and the same release"
            )
