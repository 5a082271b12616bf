"""The sections of a note, found by their headings.

Headings stand at the start of a line ("HPI:", "## Family History", "3. ASSESSMENT & PLAN", "PMH - ") or, with a
colon, after the end of a sentence within one. A heading that the list does not know still ends a section when
it stands alone on its line, in capitals, or after an empty line. It knows nothing of what a section means for
a mention in it. Source of the names: ``headings.yaml``, after the document sections of LOINC and common usage.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import RootModel

from clinical_coding.documentation.cues import is_relative
from clinical_coding.settings_file import load_settings

__all__ = ["Section", "SectionKind", "find_sections"]


class SectionKind(StrEnum):
    """What a section tells of."""

    NONE = "none"
    """Before the first heading, or in a note without any."""
    CHIEF_COMPLAINT = "chief-complaint"
    PRESENT_ILLNESS = "present-illness"
    PAST_HISTORY = "past-history"
    """Long-term conditions and past illnesses alike: says nothing by itself of what is over."""
    SURGICAL_HISTORY = "surgical-history"
    FAMILY_HISTORY = "family-history"
    SOCIAL_HISTORY = "social-history"
    MEDICATIONS = "medications"
    ALLERGIES = "allergies"
    REVIEW_OF_SYSTEMS = "review-of-systems"
    VITALS = "vitals"
    EXAMINATION = "examination"
    RESULTS = "results"
    EMERGENCY_COURSE = "emergency-course"
    HOSPITAL_COURSE = "hospital-course"
    ASSESSMENT = "assessment"
    FINAL_DIAGNOSIS = "final-diagnosis"
    """Principal and secondary diagnoses at discharge, or after an operation."""
    ADMISSION_DIAGNOSIS = "admission-diagnosis"
    PLAN = "plan"
    PROCEDURES = "procedures"
    DISCHARGE = "discharge"
    RETURN_PRECAUTIONS = "return-precautions"
    OTHER = "other"
    """Under a heading of another kind, or of one that the list does not know."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section, as character offsets."""

    kind: SectionKind
    heading_start: int
    """First character of the heading, its number and marks included; equal to ``heading_end`` where there is none."""
    heading_end: int
    """One past the heading with its colon."""
    end: int
    """One past the last character; where the next section begins."""

    @property
    def start(self) -> int:
        """First character, that of the heading."""
        return self.heading_start


class _Headings(RootModel[dict[SectionKind, tuple[str, ...]]]):
    """The known headings by kind."""


_BRIEF_KINDS: Final = frozenset({SectionKind.FAMILY_HISTORY, SectionKind.RETURN_PRECAUTIONS})
"""They change what every mention in them means, so an empty line after some text ends them."""

_SEPARATOR = re.compile(r"[\s/&\-_]+")
_LINE = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]*)?(?P<number>(?:\(?\d{1,2}[.)]|[IVX]{1,4}[.)])[ \t]+)?(?:[*_]{1,3}|[>=\-][ \t]+)?[ \t]*"
    r"(?P<name>[A-Za-z][A-Za-z0-9/&'() _\-]{0,58}?)[ \t]*(?:[*_]{1,3})?"
    r"(?P<mark>[ \t]*:[*_]{0,3}|[ \t]+[-\u2013\u2014](?=[ \t])|[ \t\r]*$)",
    re.MULTILINE,
)
_INLINE = re.compile(r"(?<=[.;!?\]])[ \t]+(?P<name>[A-Z][A-Za-z/&' \-]{1,40}?)(?P<mark>[ \t]*:)(?=\s)")
_PARENTHESIS = re.compile(r"\s*\([^)]*\)\s*$")
_REST_IS_EMPTY = re.compile(r"[ \t\r]*(?:\n|\Z)")
_EMPTY_LINE = re.compile(r"\n[ \t\r]*\n")


@cache
def _kinds() -> dict[str, SectionKind]:
    lists = load_settings(Path(__file__).with_name("headings.yaml"), _Headings).root
    return {name: kind for kind, names in lists.items() for name in names}


def _kind_of(name: str) -> SectionKind | None:
    bare = _SEPARATOR.sub(" ", _PARENTHESIS.sub("", name).lower()).strip()
    return _kinds().get(bare)


def _looks_like_heading(name: str) -> bool:
    return name.isupper() or (name[0].isupper() and len(name) > 3)


def _is_alone(text: str, match: re.Match[str]) -> bool:
    return bool(_REST_IS_EMPTY.match(text, match.end()))


def _is_unknown_heading(text: str, match: re.Match[str]) -> bool:
    """Tell whether a line begins with a heading that the list does not know."""
    name = match["name"]
    words = name.split()
    if ":" not in match["mark"] or match["number"] or len(words) > 6 or any(is_relative(word) for word in words):
        return False
    if name.isupper() and len(name) > 3:
        return True
    line_start = text.rfind("\n", 0, match.start("name")) + 1
    follows_empty_line = line_start > 1 and not text[text.rfind("\n", 0, line_start - 1) + 1 : line_start].strip()
    return name[0].isupper() and (follows_empty_line or _is_alone(text, match))


def _line_headings(text: str) -> list[tuple[SectionKind, int, int]]:
    found = []
    for match in _LINE.finditer(text):
        name, start = match["name"], match.start()
        kind = _kind_of(name)
        if kind is not None and not match["mark"].strip() and not _looks_like_heading(name):
            # "all" or "plan" alone on a wrapped line is text.
            kind = None
        if kind is not None:
            found.append((kind, start, match.end("mark")))
        elif _is_unknown_heading(text, match):
            # "CHEST PAIN: denies" may be a heading or a statement: its words stay in the sentence.
            found.append((SectionKind.OTHER, start, match.end("mark") if _is_alone(text, match) else start))
    return found


def _inline_headings(text: str) -> list[tuple[SectionKind, int, int]]:
    found = []
    for match in _INLINE.finditer(text):
        kind = _kind_of(match["name"])
        if kind is not None:
            found.append((kind, match.start("name"), match.end("mark")))
    return found


def _cut_brief(text: str, section: Section) -> list[Section]:
    body_start = section.heading_end
    body = text[body_start : section.end]
    text_start = body_start + len(body) - len(body.lstrip())
    gap = _EMPTY_LINE.search(text, text_start, section.end)
    if section.kind not in _BRIEF_KINDS or gap is None or not text[gap.end() : section.end].strip():
        return [section]
    return [
        Section(section.kind, section.heading_start, section.heading_end, gap.end()),
        Section(SectionKind.OTHER, gap.end(), gap.end(), section.end),
    ]


def find_sections(text: str) -> tuple[Section, ...]:
    """Cut a note into sections that follow each other and cover it.

    Args:
        text: Of the note.

    Returns:
        At least one section; a note without headings is one of kind ``none``.
    """
    # "3. PLAN:" is found both ways, and ends at one place; the line's heading holds the number too.
    by_end = {end: (kind, start, end) for kind, start, end in (*_inline_headings(text), *_line_headings(text))}
    headings = sorted(by_end.values(), key=lambda heading: heading[1])
    sections: list[Section] = []
    first = headings[0][1] if headings else len(text)
    if first > 0 or not headings:
        sections.append(Section(SectionKind.NONE, 0, 0, first))
    for index, (kind, start, end) in enumerate(headings):
        ends = headings[index + 1][1] if index + 1 < len(headings) else len(text)
        sections.extend(_cut_brief(text, Section(kind, start, end, ends)))
    return tuple(sections)
