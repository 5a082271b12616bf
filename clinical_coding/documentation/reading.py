"""A note as read: its sections and sentences found once, and what it asserts of any stretch of it.

Cues of a sentence are looked for when a mention in it is first asked about, so that a note costs what is asked
of it. It knows nothing of codes (``support``).
"""

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from clinical_coding.documentation.assertions import PRECEDENCE, Assertion
from clinical_coding.documentation.scopes import Scope, find_scopes
from clinical_coding.documentation.sections import Section, SectionKind, find_sections
from clinical_coding.documentation.sentences import Sentence, find_sentences
from clinical_coding.records import Note

__all__ = ["ReadNote", "read_note"]

_BY_SECTION: Final = {
    SectionKind.FAMILY_HISTORY: Assertion.FAMILY,
    SectionKind.RETURN_PRECAUTIONS: Assertion.HYPOTHETICAL,
    SectionKind.SURGICAL_HISTORY: Assertion.HISTORICAL,
}
"""What a section says of a mention in it. Past medical history says nothing: chronic conditions stand there too."""
_PATIENT = re.compile(r"\b(?:patient|pt)\b(?!['\u2019]s\b)", re.IGNORECASE)
_DATE = re.compile(r"\b(?:\d{1,2}[/-]\d{1,2}[/-]((?:19|20)\d\d)|((?:19|20)\d\d)-\d\d-\d\d)\b")
_RANK: Final = {assertion: rank for rank, assertion in enumerate(PRECEDENCE)}


@dataclass(frozen=True)
class ReadNote:
    """A note with its sections and sentences."""

    note: Note
    sections: tuple[Section, ...]
    """In the order of the text; they cover it."""
    sentences: tuple[Sentence, ...]
    """In the order of the text; headings and white space lie outside."""
    _scopes: dict[int, tuple[Scope, ...]] = field(default_factory=dict, repr=False, compare=False)

    def section_at(self, position: int) -> Section:
        """The section that a character lies in.

        Raises:
            ValueError: The position lies outside the note.
        """
        self._check(position, position + 1)
        return self.sections[bisect_right(self._section_starts, position) - 1]

    def sentence_at(self, position: int) -> Sentence | None:
        """The sentence that a character lies in; none in a heading or in white space.

        Raises:
            ValueError: The position lies outside the note.
        """
        self._check(position, position + 1)
        index = self._sentence_index(position)
        found = self.sentences[index] if index >= 0 else None
        return found if found is not None and position < found.end else None

    def assertion(self, start: int, end: int) -> Assertion:
        """Tell what the note asserts of what lies between two characters.

        Args:
            start: First character.
            end: One past the last.

        Raises:
            ValueError: The stretch is empty or lies outside the note.
        """
        self._check(start, end)
        start += len(self.note.text[start:end]) - len(self.note.text[start:end].lstrip())
        index = self._sentence_index(start)
        found = {scope.assertion for scope in self._scopes_of(index) if scope.reaches(start, end)}
        by_section = _BY_SECTION.get(self.sections[bisect_right(self._section_starts, start) - 1].kind)
        if by_section is not None and not (by_section is Assertion.FAMILY and self._is_of_patient(index, start)):
            found.add(by_section)
        return min(found, key=_RANK.__getitem__, default=Assertion.AFFIRMED)

    def _check(self, start: int, end: int) -> None:
        if not 0 <= start < end <= len(self.note.text):
            raise ValueError(
                f"stretch [{start}, {end}) is not in note {self.note.note_id!r}, which has {len(self.note.text)} "
                "characters; give offsets into this note's text, the end greater than the start"
            )

    @cached_property
    def _section_starts(self) -> list[int]:
        return [section.start for section in self.sections]

    @cached_property
    def _sentence_starts(self) -> list[int]:
        return [sentence.start for sentence in self.sentences]

    @cached_property
    def _year(self) -> int | None:
        """The latest year among the note's full dates: of the care that it tells of."""
        return max((int(first or second) for first, second in _DATE.findall(self.note.text)), default=None)

    def _sentence_index(self, position: int) -> int:
        return bisect_right(self._sentence_starts, position) - 1

    def _is_of_patient(self, index: int, position: int) -> bool:
        """Tell whether a sentence of the family history turns to the patient before a position."""
        return index >= 0 and _PATIENT.search(self.note.text, self.sentences[index].start, position) is not None

    def _scopes_of(self, index: int) -> tuple[Scope, ...]:
        if index < 0:
            return ()
        found = self._scopes.get(index)
        if found is None:
            sentence = self.sentences[index]
            found = find_scopes(self.note.text, sentence.start, sentence.end, before_year=self._year)
            self._scopes[index] = found
        return found


def read_note(note: Note) -> ReadNote:
    """Find the sections and sentences of a note; a note without sections has one, of kind ``none``."""
    sections = find_sections(note.text)
    return ReadNote(note, sections, find_sentences(note.text, sections))
