"""A case as a supervisor sees it: notes, suggested codes with their evidence, the coder's answer (stage 9).

It reads; who may see a case, and that it was seen, is the queue's business. The coder's name is left
out: the verdict is on the answer.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy import Connection, select

from clinical_coding.artefact import Artefact
from clinical_coding.code_systems import CodeSystems, date_of_coding
from clinical_coding.codes import CodeSystem, split_key
from clinical_coding.decisions import CodeAction
from clinical_coding.findings import Finding
from clinical_coding.records import Encounter, Note
from clinical_coding.suggestions import RouteDecision, SuggestedCode, Suggestion, SuggestionRequest, VersionName
from feedback.cases import Case, purged
from feedback.overrides import final_codes
from feedback.stored_decisions import decision_of
from feedback.tables import adjudications, audit_draws, overrides
from feedback.verdicts import Answers, CaseKind, answers_to_audit, answers_to_override
from ledger.principals import Principal
from ledger.suggestions import StoredSuggestion, load

__all__ = ["CaseContent", "CaseView", "CoderAnswer", "NamedCode", "load_content", "view"]


class NamedCode(Artefact):
    """A code with its description."""

    system: CodeSystem
    code: str
    description: str | None
    """What the release of the date of coding says, else our own words; null when nothing is known."""

    @property
    def key(self) -> str:
        """The label key: ``icd10cm:I21.4``."""
        return f"{self.system}:{self.code}"


class CoderAnswer(Artefact):
    """What the coder did with one code."""

    action: CodeAction
    code: NamedCode
    """The suggested code, or the added one."""
    to: NamedCode | None
    """What took its place, when modified."""
    reason: str
    """The coder's reason code."""


class CaseView(Artefact):
    """Everything that a verdict is given on."""

    case_id: str
    kind: CaseKind
    suggestion_id: str
    opened_at: datetime
    is_open: bool
    claimed_until: datetime | None
    """End of the claim that stands; null when nobody holds the case now."""
    is_yours: bool
    """True when you hold the case now."""
    adjudication_id: str | None
    """The verdict, once there is one."""
    version: VersionName
    """Which model answered."""
    route: RouteDecision
    record_id: str
    encounter: Encounter
    notes: tuple[Note, ...]
    suggested: tuple[SuggestedCode, ...]
    findings: tuple[Finding, ...]
    """What coding rules said of the suggested codes."""
    answer: CoderAnswer | None
    """The override to be judged; null on an audit."""
    final_codes: tuple[NamedCode, ...]
    """The codes to be judged on an audit, all that stood in the end; empty on an override."""


@dataclass(frozen=True, slots=True)
class CaseContent:
    """What a verdict on a case rests on; none of it ever changes."""

    request: SuggestionRequest
    suggestion: Suggestion
    answer: CoderAnswer | None
    answers: Answers

    @property
    def date_of_coding(self) -> date | None:
        """Its releases judge and describe the codes."""
        return date_of_coding(self.request.encounter)


def view(connection: Connection, case: Case, *, principal: Principal, systems: CodeSystems) -> CaseView:
    """Gather what there is to be seen of a case.

    Args:
        connection: A migrated database.
        case: What the queue says of it.
        principal: Who looks.
        systems: The releases that describe codes.

    Raises:
        ConflictError: Its notes were purged.
    """
    content = load_content(connection, case, systems=systems)
    holder = case.holder(datetime.now(UTC))
    request, suggestion = content.request, content.suggestion
    ranks = {f"{code.system}:{code.code}": code.rank for code in suggestion.codes}
    final = sorted(
        content.answers.ai if case.kind is CaseKind.AUDIT else (), key=lambda key: (ranks.get(key, 999), key)
    )
    on = content.date_of_coding
    return CaseView(
        case_id=case.case_id,
        kind=case.kind,
        suggestion_id=case.suggestion_id,
        opened_at=case.opened_at,
        is_open=case.is_open,
        claimed_until=case.claimed_until if holder else None,
        is_yours=holder == principal.id,
        adjudication_id=None if case.is_open else _last_verdict(connection, case),
        version=suggestion.version,
        route=suggestion.route.decision,
        record_id=request.record_id,
        encounter=request.encounter,
        notes=request.notes,
        suggested=suggestion.codes,
        findings=suggestion.findings,
        answer=content.answer,
        final_codes=tuple(_named(*split_key(key), on=on, systems=systems) for key in final),
    )


def load_content(connection: Connection, case: Case, *, systems: CodeSystems) -> CaseContent:
    """Read what a case is about.

    Args:
        connection: A migrated database.
        case: What the queue says of it.
        systems: The releases that describe codes.

    Raises:
        ConflictError: Its notes were purged.
    """
    stored = load(connection, case.suggestion_id)
    if stored.request is None or stored.suggestion is None:
        raise purged(case)
    if case.kind is CaseKind.AUDIT:
        return CaseContent(stored.request, stored.suggestion, None, _audited(connection, case, stored=stored))
    answer = _override(connection, case.case_id, on=date_of_coding(stored.request.encounter), systems=systems)
    to_key = answer.to.key if answer.to else None
    answers = answers_to_override(answer.action, key=answer.code.key, to_key=to_key)
    return CaseContent(stored.request, stored.suggestion, answer, answers)


def _last_verdict(connection: Connection, case: Case) -> str | None:
    query = select(adjudications.c.id).where(adjudications.c.case_id == case.case_id)
    return connection.scalar(query.order_by(adjudications.c.round.desc()).limit(1))


def _audited(connection: Connection, case: Case, *, stored: StoredSuggestion) -> Answers:
    stratum = connection.scalar(select(audit_draws.c.stratum).where(audit_draws.c.id == case.case_id))
    # What nobody had looked at when it was drawn is judged as the model left it, even if a coder decides later.
    decided = None if stratum == "autonomous" else decision_of(connection, case.suggestion_id)
    return answers_to_audit(final_codes(stored, decided.decision if decided else None))


def _override(connection: Connection, override_id: str, *, on: date | None, systems: CodeSystems) -> CoderAnswer:
    row = connection.execute(select(overrides).where(overrides.c.id == override_id)).one()
    system = CodeSystem(row.system)
    return CoderAnswer(
        action=CodeAction(row.action),
        code=_named(system, row.code, on=on, systems=systems),
        to=None if row.to_code is None else _named(system, row.to_code, on=on, systems=systems),
        reason=row.reason,
    )


def _named(system: CodeSystem, code: str, *, on: date | None, systems: CodeSystems) -> NamedCode:
    return NamedCode(system=system, code=code, description=systems.describe(system, code, on))
