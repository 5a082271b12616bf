"""What documentation and coding rules say of scored codes, between scoring and the answer (stage 7).

A code that the documentation does not support, since it only denies it, or calls it possible outside
hospital, is withheld. The rest stands, with the findings that it raises; gaps in the documentation become
queries. It knows no version, no route and no database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from clinical_coding.artefact import new_id
from clinical_coding.code_systems import date_of_coding
from clinical_coding.codes import Code, CodeSystem, EvidenceSpan
from clinical_coding.documentation import ReadNote, SectionKind, finding_of, read_note, support
from clinical_coding.edits import check
from clinical_coding.findings import Finding
from clinical_coding.grouping import Grouping, group
from clinical_coding.physician_queries import PhysicianQuery
from clinical_coding.predictions import PredictedCode
from clinical_coding.queries import find_queries
from clinical_coding.records import Encounter, Note, Setting
from clinical_coding.suggestions import SuggestionRequest
from serving.garbage_collection import freeze_loaded
from serving.gateway.rules import AnswerRules
from serving.routing import Router, RoutingFacts

__all__ = ["Review", "read_notes", "review", "routing_facts", "warm"]


@dataclass(frozen=True, slots=True)
class Review:
    """Scored codes as they may be answered."""

    codes: tuple[PredictedCode, ...]
    """As scored, without the withheld ones."""
    num_withheld: int
    findings: tuple[Finding, ...]
    queries: tuple[PhysicianQuery, ...]
    grouping: Grouping | None


def read_notes(notes: Sequence[Note]) -> dict[str, ReadNote]:
    """Read notes, by note id; that needs no code, so it may be done while codes are scored."""
    return {note.note_id: read_note(note) for note in notes}


def review(
    request: SuggestionRequest,
    scored: Sequence[PredictedCode],
    *,
    read: Mapping[str, ReadNote],
    rules: AnswerRules,
    suggestion_id: str,
) -> Review:
    """Judge what the model would suggest.

    Args:
        request: What was asked.
        scored: All scored codes, best first.
        read: Of ``read_notes``.
        rules: What to judge by.
        suggestion_id: Of the answer; the ids of queries follow from it.
    """
    kept, findings = _supported(scored, request=request, read=read)
    # Their order is the model's confidence, which is no sequence.
    codes = [Code(system=code.system, code=code.code, evidence=code.evidence) for code in kept if code.suggested]
    notes = tuple(read.values())
    findings += check(
        request.encounter, codes, systems=rules.systems, policy=rules.policy, notes=notes, necessity=rules.necessity
    )
    queries = find_queries(request.encounter, notes, codes, findings, rules=rules.queries, suggestion_id=suggestion_id)
    principal = _working_principal(codes, read=read, request=request, rules=rules)
    grouping = principal and group(request.encounter, codes, systems=rules.systems, principal=principal)
    return Review(tuple(kept), len(scored) - len(kept), findings, queries, grouping or None)


def routing_facts(
    request: SuggestionRequest,
    reviewed: Review,
    *,
    read: Mapping[str, ReadNote],
    router: Router,
    on: date | None = None,
) -> RoutingFacts:
    """Gather what the routing policy looks at.

    Args:
        request: What was asked.
        reviewed: What may be answered.
        read: Of ``read_notes``.
        router: Whose policy.
        on: The day of routing; today when None.
    """
    return router.facts(
        request.encounter,
        reviewed.codes,
        read=read,
        findings=reviewed.findings,
        num_withheld=reviewed.num_withheld,
        num_queries=len(reviewed.queries),
        grouping=reviewed.grouping,
        on=on,
    )


def warm(rules: AnswerRules) -> None:
    """Review an invented stay, so that tables are read before the first real one comes; takes a second."""
    text = "Discharge diagnosis: pneumonia."
    note = Note(note_id="warm", type="discharge-summary", text=text)
    encounter = Encounter(setting=Setting.INPATIENT, specialty="medicine")
    span = EvidenceSpan(note_id=note.note_id, start=text.index("pneumonia"), end=len(text) - 1)
    code = PredictedCode(system=CodeSystem.ICD10CM, code="J18.9", confidence=1.0, suggested=True, evidence=(span,))
    request = SuggestionRequest(record_id="warm", encounter=encounter, notes=(note,))
    review(request, [code], read=read_notes([note]), rules=rules, suggestion_id=new_id())
    rules.router.warm()
    freeze_loaded()


def _working_principal(
    codes: Sequence[Code], *, read: Mapping[str, ReadNote], request: SuggestionRequest, rules: AnswerRules
) -> str | None:
    """The diagnosis that the final diagnoses of a stay name first; none elsewhere, or where none are listed."""
    if request.encounter.setting is not Setting.INPATIENT:
        return None
    library = rules.systems.icd10cm(date_of_coding(request.encounter))
    named = [
        (order, span.start, code.key)
        for order, note in enumerate(read.values())
        for code in codes
        if code.system is CodeSystem.ICD10CM and not library.is_manifestation(code.code)
        for span in code.evidence
        if span.note_id == note.note.note_id and note.section_at(span.start).kind is SectionKind.FINAL_DIAGNOSIS
    ]
    return min(named)[2] if named else None


def _supported(
    scored: Sequence[PredictedCode], *, request: SuggestionRequest, read: Mapping[str, ReadNote]
) -> tuple[list[PredictedCode], tuple[Finding, ...]]:
    """Sort out the suggested codes whose every evidence speaks against them, each with a finding."""
    kept, findings = [], []
    for code in scored:
        found = support(code.key, code.evidence, read, setting=request.encounter.setting) if code.suggested else None
        if found is None or found.stands:
            kept.append(code)
        else:
            findings.append(finding_of(code.key, found, code.evidence))
    return kept, tuple(findings)
