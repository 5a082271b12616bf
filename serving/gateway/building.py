"""Builds the suggestion out of scored codes: review, ranks, descriptions, evidence text, alternatives, route."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Final

from clinical_coding.artefact import new_id
from clinical_coding.bundle import Label
from clinical_coding.codes import CodeSystem
from clinical_coding.documentation import ReadNote
from clinical_coding.predictions import PredictedCode
from clinical_coding.suggestions import (
    Alternative,
    RouteDecision,
    SuggestedCode,
    Suggestion,
    SuggestionEvidence,
    SuggestionRequest,
    VersionName,
)
from serving.gateway.dispatch import Scored
from serving.gateway.reviewing import review, routing_facts
from serving.gateway.rules import AnswerRules

__all__ = ["SuggestionBuilder", "as_answered"]

MAX_ALTERNATIVES: Final = 3
CATEGORY_CHARACTERS: Final = 3
MIN_SHARED_CHARACTERS: Final = 2


class SuggestionBuilder:
    """Knows the version's labels and what codes are judged by; holds nothing of a request."""

    def __init__(self, labels: Sequence[Label], *, version: VersionName, rules: AnswerRules) -> None:
        self._labels = labels
        self._descriptions: Mapping[str, str | None] = {label.key: label.description for label in labels}
        self._version = version
        self._rules = rules

    def renamed(self, version: VersionName) -> "SuggestionBuilder":
        """The same under another name."""
        return SuggestionBuilder(self._labels, version=version, rules=self._rules)

    def build(
        self, request: SuggestionRequest, *, scored: Scored, read: Mapping[str, ReadNote], trace_id: str
    ) -> Suggestion:
        """Answer a request; takes milliseconds.

        Args:
            request: What was asked.
            scored: All scored codes of its notes, best first.
            read: The notes as ``serving.gateway.reviewing.read_notes`` reads them.
            trace_id: Names the request in the log.

        Returns:
            The whole suggestion, codes included on every route; ``as_answered`` is what a client gets.
        """
        suggestion_id = new_id()
        reviewed = review(request, scored.codes, read=read, rules=self._rules, suggestion_id=suggestion_id)
        facts = routing_facts(request, reviewed, read=read, router=self._rules.router)
        suggested = [code for code in reviewed.codes if code.suggested]
        others = [code for code in reviewed.codes if not code.suggested]
        texts = {note.note_id: note.text for note in request.notes}
        return Suggestion(
            suggestion_id=suggestion_id,
            version=self._version,
            route=self._rules.router.route(facts),
            degraded=scored.degraded,
            codes=tuple(
                self._suggest(code, rank=rank, others=others, texts=texts)
                for rank, code in enumerate(suggested, start=1)
            ),
            findings=reviewed.findings,
            queries=reviewed.queries,
            grouping=reviewed.grouping,
            trace_id=trace_id,
        )

    def _suggest(
        self, code: PredictedCode, *, rank: int, others: Sequence[PredictedCode], texts: Mapping[str, str]
    ) -> SuggestedCode:
        return SuggestedCode(
            system=code.system,
            code=code.code,
            description=self._descriptions.get(code.key),
            confidence=code.confidence,
            rank=rank,
            evidence=tuple(
                SuggestionEvidence(
                    note_id=span.note_id,
                    start=span.start,
                    end=span.end,
                    text=texts[span.note_id][span.start : span.end],
                )
                for span in code.evidence
            ),
            alternatives=tuple(
                Alternative(
                    system=other.system,
                    code=other.code,
                    description=self._descriptions.get(other.key),
                    confidence=other.confidence,
                )
                for other in _alternatives(code, others=others)
            ),
        )


def as_answered(suggestion: Suggestion) -> Suggestion:
    """What is told of a suggestion: on the manual route no code, for people code without them there."""
    if suggestion.route.decision is not RouteDecision.MANUAL:
        return suggestion
    # Findings, queries and the DRG tell of codes, too.
    return suggestion.model_copy(update={"codes": (), "findings": (), "queries": (), "grouping": None})


def _alternatives(code: PredictedCode, *, others: Sequence[PredictedCode]) -> list[PredictedCode]:
    """The nearest codes that were scored and not suggested.

    Near in ICD-10-CM is the category, its first three characters, and then the neighbouring
    categories; elsewhere the longest shared beginning, as codes that begin alike mean alike in
    CPT, HCPCS and ICD-10-PCS too. Equally near ones go by confidence.
    """
    near = [(_nearness(code, other), other) for other in others if other.system is code.system]
    near = [(nearness, other) for nearness, other in near if nearness >= MIN_SHARED_CHARACTERS]
    near.sort(key=lambda pair: (-pair[0], -pair[1].confidence))
    return [other for _, other in near[:MAX_ALTERNATIVES]]


def _nearness(code: PredictedCode, other: PredictedCode) -> int:
    pairs = zip(code.code, other.code, strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return min(shared, CATEGORY_CHARACTERS) if code.system is CodeSystem.ICD10CM else shared
