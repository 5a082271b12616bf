"""A suggestion as CDS Hooks cards: one card a code, its alternatives as further suggestions of the same card.

An override is about a whole card, so codes never share one. No system action is ever among them: a code is
for a person to take. It knows no database and no HTTP. Source: CDS Hooks 2.0, section "CDS Service Response".
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from clinical_coding.codes import CodeSystem
from clinical_coding.decisions import CodeAction
from clinical_coding.findings import Finding, Severity
from clinical_coding.physician_queries import PhysicianQuery
from clinical_coding.suggestions import RouteDecision, SuggestedCode, Suggestion, SuggestionRequest
from feedback.settings import ReasonCodes
from serving.ehr.fhir_writing import StandingCode, code_resource
from serving.ehr.settings import EhrSettings

__all__ = ["REASON_SYSTEM", "card_id", "choice_id", "choices", "write_cards"]

REASON_SYSTEM: Final = "urn:chartloop:override-reason"
_MAX_SUMMARY: Final = 139
_MAX_EXCERPT: Final = 300
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&])")
_INDICATORS: Final = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.BLOCKING: "critical"}


def card_id(suggestion_id: str, name: str) -> str:
    """The uuid of a card, the same each time: of a code by its label key."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:chartloop:card:{suggestion_id}:{name}"))


def choice_id(card: str, key: str) -> str:
    """The uuid of a card's suggestion, by the label key of its code."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:chartloop:choice:{card}:{key}"))


def choices(suggestion: Suggestion, code: SuggestedCode) -> tuple[StandingCode, ...]:
    """What a code's card offers: the code, then alternatives that no card of their own offers."""
    suggested = {f"{one.system}:{one.code}" for one in suggestion.codes}
    others = [other for other in code.alternatives if f"{other.system}:{other.code}" not in suggested]
    own = StandingCode(code.system, code.code, code.description, code.confidence)
    return (own, *(StandingCode(one.system, one.code, one.description, one.confidence) for one in others))


def write_cards(
    asked: SuggestionRequest, suggestion: Suggestion, *, settings: EhrSettings, reasons: ReasonCodes
) -> list[dict[str, Any]]:
    """Write the cards of a suggestion.

    Args:
        asked: What was asked.
        suggestion: The whole suggestion; on the manual route one card says that no codes are shown.
        settings: Links.
        reasons: The reasons for overriding a card.
    """
    writer = _Writer(asked, suggestion, settings=settings)
    if suggestion.route.decision is RouteDecision.MANUAL:
        text = "This encounter is coded by a person without suggestions."
        return [writer.card("manual", summary="Coded without suggestions", indicator="info", detail=text)]
    overrides = [
        {"code": code, "system": REASON_SYSTEM, "display": reasons.reasons[code].text}
        for code in reasons.fitting(CodeAction.REJECT)
    ]
    return [
        *(writer.code_card(code, overrides=overrides) for code in suggestion.codes),
        *(writer.finding_card(number, finding) for number, finding in enumerate(suggestion.findings)),
        *(writer.query_card(query) for query in suggestion.queries),
    ]


class _Writer:
    """Writes the cards of one suggestion."""

    def __init__(self, asked: SuggestionRequest, suggestion: Suggestion, *, settings: EhrSettings) -> None:
        self._asked = asked
        self._suggestion = suggestion
        version = suggestion.version
        number = "" if version.number is None else f", version {version.number}"
        self._source = {"label": f"Coding suggestions by {version.name}{number}"}
        self._links: list[dict[str, str]] = []
        if settings.evidence_url is not None:
            url = settings.evidence_url.replace("{suggestion_id}", suggestion.suggestion_id)
            self._links = [{"label": "Open evidence", "url": url, "type": "absolute"}]

    def card(self, name: str, *, summary: str, indicator: str, detail: str, **more: Any) -> dict[str, Any]:
        return {
            "uuid": card_id(self._suggestion.suggestion_id, name),
            "summary": summary if len(summary) <= _MAX_SUMMARY else f"{summary[: _MAX_SUMMARY - 1]}…",
            "indicator": indicator,
            "detail": detail,
            "source": self._source,
            **({"links": self._links} if self._links else {}),
            **more,
        }

    def code_card(self, code: SuggestedCode, *, overrides: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        key = f"{code.system}:{code.code}"
        card = card_id(self._suggestion.suggestion_id, key)
        title = "" if code.description is None else f" {code.description}"
        lines = [f"> {_plain(span.text)}" for span in code.evidence]
        told = {f.rule: f for f in self._suggestion.findings if key in f.codes}
        lines += [f"{_plain(finding.rule)}: {_plain(finding.explanation)}" for finding in told.values()]
        offered = choices(self._suggestion, code)
        return self.card(
            key,
            summary=f"Suggested code {code.code} ({code.confidence:.2f}){title}",
            indicator="info",
            detail="\n\n".join(lines) or "No single passage of the notes carries this code.",
            selectionBehavior="at-most-one",
            suggestions=[self._choice(card, one, is_recommended=place == 0) for place, one in enumerate(offered)],
            overrideReasons=list(overrides),
        )

    def finding_card(self, number: int, finding: Finding) -> dict[str, Any]:
        codes = ", ".join(key.partition(":")[2] for key in finding.codes)
        parts = [finding.explanation, finding.fix or "", f"Source: {finding.source}"]
        return self.card(
            f"finding:{number}",
            summary=f"{finding.rule.replace('-', ' ').capitalize()}{f': {codes}' if codes else ''}",
            indicator=_INDICATORS[finding.severity],
            detail="\n\n".join(_plain(part) for part in parts if part),
        )

    def query_card(self, query: PhysicianQuery) -> dict[str, Any]:
        lines = [_plain(query.question), *(f"> {_plain(one.name)}: {_plain(one.text)}" for one in query.indicators)]
        lines += [f"- {_plain(option)}" for option in query.options]
        return self.card(
            f"query:{query.query_id}",
            summary=f"Query to the physician: {query.title}",
            indicator="info",
            detail="\n\n".join(lines),
        )

    def _choice(self, card: str, code: StandingCode, *, is_recommended: bool) -> dict[str, Any]:
        kind = "diagnosis" if code.system is CodeSystem.ICD10CM else "procedure"
        resource = code_resource(self._asked, code, is_final=False)
        return {
            "label": f"Assign {code.code}" if is_recommended else f"Assign {code.code} instead",
            "uuid": choice_id(card, f"{code.system}:{code.code}"),
            "isRecommended": is_recommended,
            "actions": [{"type": "create", "description": f"Add {kind} {code.code}", "resource": resource}],
        }


def _plain(text: str) -> str:
    """Text as Markdown that shows it to the letter: a note must not bring links or headings of its own."""
    one_line = " ".join(text.split())
    cut = one_line if len(one_line) <= _MAX_EXCERPT else f"{one_line[: _MAX_EXCERPT - 1]}…"
    return _MARKDOWN.sub(r"\\\1", cut)
