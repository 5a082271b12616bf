"""Rules that hold codes against the notes: the side, and details that the note gives and the code leaves out.

They read what is asserted of the patient, and stay silent where notes are not given or say both. Source: Official
Guidelines I.B.2, I.B.13, I.B.18.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from clinical_coding.codes import EvidenceSpan
from clinical_coding.documentation import Assertion, ReadNote
from clinical_coding.edits.case import Case, Diagnosis
from clinical_coding.edits.rules import Hit
from clinical_coding.edits.titles import words_of

__all__ = ["laterality_conflicts", "missed_specificity", "open_sides"]

Said = dict[str, list[EvidenceSpan]]
"""Sides that the notes name for a diagnosis, each with where."""

_SIDE: Final = re.compile(
    r"(?P<left>\b(?i:left|lt)\b|\bL\b(?= [a-z]))|(?P<right>\b(?i:right|rt)\b|\bR\b(?= [a-z]))"
    r"|(?P<bilateral>\b(?i:bilateral(?:ly)?|bilat|both)\b|\b(?i:b/l)\b)"
)
_WORD: Final = re.compile(r"[A-Za-z0-9]+(?:'[A-Za-z]+)?")
_MAX_SENTENCE: Final = 300
"""Characters; what is longer is a list, whose words belong to many things."""


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a stretch of a note."""

    read: ReadNote
    start: int
    end: int

    def affirm(self, wanted: frozenset[str]) -> bool:
        """Tell whether all of some words stand there, and none of them only as denied, possible or past."""
        text = self.read.note.text
        if not wanted <= words_of(text[self.start : self.end]):
            return False
        found = {
            match.group().lower()
            for match in _WORD.finditer(text, self.start, self.end)
            if match.group().lower() in wanted and self.read.assertion(match.start(), match.end()) is Assertion.AFFIRMED
        }
        return found == wanted


def laterality_conflicts(case: Case) -> Iterator[Hit]:
    """Codes of one side where the notes name only another."""
    for diagnosis in case.diagnoses:
        place = diagnosis.facts.place
        if not case.notes or place is None or place.side is None:
            continue
        said = _sides_said(case, diagnosis)
        if said and place.side not in said:
            yield Hit(
                (diagnosis.key,),
                f"{diagnosis.facts.code} says {place.side}, and the documentation says {' and '.join(said)}.",
                "Official Guidelines I.B.13",
                "Code the side that is documented; ask the physician where the documentation contradicts itself.",
                tuple(span for spans in said.values() for span in spans),
            )


def open_sides(case: Case) -> Iterator[Hit]:
    """Codes of an unspecified side where the notes name one."""
    for diagnosis in case.diagnoses:
        place = diagnosis.facts.place
        if not case.notes or place is None or not place.sided:
            continue
        said = _sides_said(case, diagnosis)
        for side, code in place.sided:
            if set(said) == {side}:
                yield Hit(
                    (diagnosis.key,),
                    f"{diagnosis.facts.code} leaves the side open, and the documentation says {side}.",
                    "Official Guidelines I.B.13, I.B.18",
                    f"Use {code}.",
                    tuple(said[side]),
                )


def missed_specificity(case: Case) -> Iterator[Hit]:
    """Unspecified codes where the evidence has the words of a neighbouring code."""
    for diagnosis in case.diagnoses:
        if not case.notes or not diagnosis.facts.neighbours:
            continue
        said = list(_sentences(case, diagnosis))
        for neighbour in diagnosis.facts.neighbours:
            spans = [span for span, words in said if words.affirm(neighbour.words)]
            if spans:
                yield Hit(
                    (diagnosis.key,),
                    f"{diagnosis.facts.code} ({diagnosis.facts.title}) leaves open what the documentation says.",
                    "Official Guidelines I.A.9.b, I.B.18",
                    f"See whether {neighbour.code}{'' if case.library.is_valid(neighbour.code) else '-'} fits.",
                    tuple(spans),
                )
                break


def _sides_said(case: Case, diagnosis: Diagnosis) -> Said:
    """The sides that the evidence names; where it names none, those that the notes name beside the site."""
    said: Said = {}
    for span in diagnosis.code.evidence:
        note = case.notes.get(span.note_id)
        for found in _SIDE.finditer(note.note.text, span.start, span.end) if note is not None else ():
            said.setdefault(str(found.lastgroup), []).append(span)
    place = diagnosis.facts.place
    if not said and place is not None and place.sites:
        for read in case.notes.values():
            for side, span in _sides_at(read, place.sites):
                said.setdefault(side, []).append(span)
    if {"left", "right"} <= said.keys():
        said.setdefault("bilateral", [])
    return said


def _sides_at(read: ReadNote, sites: tuple[str, ...]) -> Iterator[tuple[str, EvidenceSpan]]:
    """Where a note asserts something of a site on a side."""
    for found in _beside(sites).finditer(read.note.text):
        if read.assertion(found.start(), found.end()) is Assertion.AFFIRMED:
            span = EvidenceSpan(note_id=read.note.note_id, start=found.start(), end=found.end())
            yield str(found.lastgroup), span


@lru_cache(maxsize=4096)
def _beside(sites: tuple[str, ...]) -> re.Pattern[str]:
    # At most two words between, without punctuation: "left lower leg", not "left, as was the leg".
    return re.compile(rf"(?:{_SIDE.pattern})(?= (?:[a-z-]+ ){{0,2}}(?i:{'|'.join(sites)})(?:e?s)?\b)")


def _sentences(case: Case, diagnosis: Diagnosis) -> Iterator[tuple[EvidenceSpan, _Words]]:
    """The affirmed evidence of a diagnosis, each span with the words of its sentence that are affirmed too."""
    for span in diagnosis.code.evidence:
        read = case.notes.get(span.note_id)
        if read is None or read.assertion(span.start, span.end) is not Assertion.AFFIRMED:
            continue
        sentence = read.sentence_at(span.start)
        if sentence is not None and sentence.end - sentence.start <= _MAX_SENTENCE:
            yield span, _Words(read, sentence.start, max(sentence.end, span.end))
