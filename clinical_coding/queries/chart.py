"""The chart: what the notes, codes and findings of one encounter hold of the indicators that rules ask for.

A mention counts as an indicator only where it is affirmed of this patient now; ``documentation`` says so. Notes
are read once for all rules; the assertion of a mention is asked for only when a rule comes to it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final

from clinical_coding.codes import Code, CodeState, CodeSystem, EvidenceSpan
from clinical_coding.documentation import Assertion, ReadNote
from clinical_coding.findings import Finding
from clinical_coding.physician_queries import QueryIndicator
from clinical_coding.queries.loading import QueryRules
from clinical_coding.queries.measures import Bounds, readings_that_meet
from clinical_coding.queries.rules import Indicator, Unless

__all__ = ["Chart"]

Span = tuple[int, int]
"""First character, and one past the last."""
Place = tuple[int, Span]
"""Which note, and where in it."""

_SIDE_AND_PART: Final = re.compile(
    r"\b(?P<side>right|left)\s+(?P<part>(?:(?:lower|upper|medial|lateral|distal|proximal|great)\s+)?[a-z]+)\b",
    re.IGNORECASE,
)

# A statement of any of these kinds is about this patient now, so that the question has been considered.
_STATED: Final = frozenset({Assertion.AFFIRMED, Assertion.UNCERTAIN, Assertion.NEGATED})
_HELD: Final = frozenset({Assertion.AFFIRMED, Assertion.UNCERTAIN})
# A baseline is of the past, and the value that departs from it is not.
_HELD_OR_PAST: Final = _HELD | {Assertion.HISTORICAL}
_AFFIRMED: Final = frozenset({Assertion.AFFIRMED})
_PAST_TOO: Final = frozenset({Assertion.AFFIRMED, Assertion.HISTORICAL})


class Chart:
    """One encounter, read with the terms of all rules."""

    def __init__(self, notes: Sequence[ReadNote], codes: Sequence[Code], *, rules: QueryRules) -> None:
        self.texts: Mapping[str, str] = {read.note.note_id: read.note.text for read in notes}
        self._notes = notes
        self._place_of = {read.note.note_id: place for place, read in enumerate(notes)}
        self._rules = rules
        self._codes = [
            code for code in codes if code.system is CodeSystem.ICD10CM and code.state is not CodeState.NEGATIVE
        ]
        self._mentions = [rules.index.find(read.note.text) for read in notes]
        self._assertions: dict[Place, Assertion] = {}

    def sightings(self, indicator: Indicator, *, finding: Finding | None) -> tuple[QueryIndicator, ...]:
        """Where an indicator shows: its first mention, reading or evidence; none when it does not.

        Args:
            indicator: What to look for.
            finding: The finding that the query is about, when it is about one.
        """
        found = self._of_finding(indicator, finding) or self._first(self._mentioned(indicator))
        if not found and indicator.measure is not None and indicator.bounds is not None:
            found = self._readings(indicator.measure, bounds=indicator.bounds)
        found = found or self._first(self._evidence(indicator))
        return tuple(self._quote(place, span, name=indicator.name) for place, span in found)

    def keys(self, indicator: Indicator) -> tuple[str, ...]:
        """Label keys of the codes by which an indicator shows."""
        return tuple(code.key for code in self._matching(indicator))

    def settles(self, unless: Unless) -> bool:
        """Tell whether the notes or codes answer a question already."""
        if any(code.code.startswith(unless.codes) for code in self._codes):
            return True
        mentions = chain.from_iterable(self._mentions_of(term) for term in unless.stated)
        return any(self._assertion(place, span) in _STATED for place, span in mentions)

    def _mentions_of(self, term: str) -> Iterator[Place]:
        for place, mentions in enumerate(self._mentions):
            for span in mentions.get(term, ()):
                yield place, span

    def _mentioned(self, indicator: Indicator) -> Iterator[Place]:
        """Mentions of an indicator's terms that count, in reading order."""
        counted = _PAST_TOO if indicator.past else _AFFIRMED
        mentions = sorted(set(chain.from_iterable(self._mentions_of(term) for term in indicator.terms)))
        return ((place, span) for place, span in mentions if self._assertion(place, span) in counted)

    def _readings(self, name: str, *, bounds: Bounds) -> tuple[Place, ...]:
        """The readings by which a measure is out of bounds; pairs are of one note."""
        measure = self._rules.measures[name]
        for place, mentions in enumerate(self._mentions):
            names = chain.from_iterable(mentions.get(term, ()) for term in measure.terms)
            readings = measure.readings(self._notes[place].note.text, names=names)
            # Most readings are within bounds, and asking for their assertions would cost more than reading them.
            if readings_that_meet(readings, bounds=bounds):
                counted = _HELD_OR_PAST if bounds.are_of_pairs else _HELD
                current = [reading for reading in readings if self._assertion(place, reading.span) in counted]
                met = readings_that_meet(current, bounds=bounds)
                if any(self._assertion(place, reading.span) in _HELD for reading in met):
                    return tuple((place, reading.span) for reading in met)
        return ()

    def _evidence(self, indicator: Indicator) -> Iterator[Place]:
        """Affirmed evidence of the codes by which an indicator shows."""
        for code in self._matching(indicator):
            for place, span in self._places_of(code.evidence):
                if self._assertion(place, span) in _AFFIRMED:
                    yield place, span

    def _matching(self, indicator: Indicator) -> Iterator[Code]:
        for code in self._codes:
            if code.code in indicator.exact_codes or (indicator.codes and code.code.startswith(indicator.codes)):
                yield code
            elif indicator.titles and any(words in self._title(code) for words in indicator.titles):
                yield code

    def _title(self, code: Code) -> str:
        entry = self._rules.library.get(code.code)
        return "" if entry is None else entry.description.lower()

    def _of_finding(self, indicator: Indicator, finding: Finding | None) -> tuple[Place, ...]:
        if finding is None:
            return ()
        if indicator.other_side:
            return self._first(self._on_the_other_side(finding))
        return tuple(self._places_of(finding.evidence)) if finding.rule in indicator.findings else ()

    def _on_the_other_side(self, finding: Finding) -> Iterator[Place]:
        """Where the notes affirm something of the same part of the body on the other side."""
        for place, (start, end) in self._places_of(finding.evidence):
            stated = _SIDE_AND_PART.search(self._notes[place].note.text, start)
            if stated is None or stated.start() >= end:
                continue
            other = "left" if stated["side"].lower() == "right" else "right"
            pattern = re.compile(rf"\b{other}\s+{re.escape(stated['part'])}\b", re.IGNORECASE)
            for elsewhere, read in enumerate(self._notes):
                for found in pattern.finditer(read.note.text):
                    if self._assertion(elsewhere, found.span()) in _AFFIRMED:
                        yield elsewhere, found.span()

    def _places_of(self, evidence: Iterable[EvidenceSpan]) -> Iterator[Place]:
        """Spans that lie in the notes; codes and findings of other notes have none."""
        for span in evidence:
            place = self._place_of.get(span.note_id)
            if place is not None and span.end <= len(self._notes[place].note.text):
                yield place, (span.start, span.end)

    def _first(self, places: Iterator[Place]) -> tuple[Place, ...]:
        return tuple(islice(places, 1))

    def _quote(self, place: int, span: Span, *, name: str) -> QueryIndicator:
        note = self._notes[place].note
        start, end = span
        return QueryIndicator(note_id=note.note_id, start=start, end=end, name=name, text=note.text[start:end])

    def _assertion(self, place: int, span: Span) -> Assertion:
        known = self._assertions.get((place, span))
        if known is None:
            known = self._assertions[place, span] = self._notes[place].assertion(*span)
        return known
