"""Who decided what: everything the ledger holds of one suggestion, found by any id of its way (stages 7 to 10).

From a training record back to the suggestion, the decisions, the overrides, the audit draw and the
verdicts, each with who, when, and its entries of the audit log. It shows codes and reasons, no notes,
and does not know which versions were trained on a verdict (``governance.lineage``).
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, select

from clinical_coding.suggestions import RouteDecision, Suggestion
from feedback.adjudication import adjudications_of
from feedback.errors import ForbiddenError, NotFoundError
from feedback.overrides import Override, overrides_of_suggestion
from feedback.stored_decisions import StoredDecision, decisions_of
from feedback.tables import adjudications, audit_draws, decisions, overrides
from feedback.traced import (
    Kind,
    LogEntry,
    Person,
    Trace,
    TracedAdjudication,
    TracedCode,
    TracedDecision,
    TracedDraw,
    TracedOverride,
    TracedSuggestion,
)
from feedback.training_set import RECORD_PREFIX
from ledger.audit_log import audit_log
from ledger.principals import Principal, Role, principals
from ledger.suggestions import load, suggestions

__all__ = ["trace"]

MAY_TRACE: Final = (Role.SUPERVISOR, Role.ADMIN, Role.SERVICE)
_MAX_ID_CHARACTERS: Final = 64


def trace(engine: Engine, identifier: str, *, principal: Principal) -> Trace:
    """Find all that is known of a suggestion.

    Args:
        engine: A migrated database.
        identifier: Of a training record that came from feedback, a suggestion, a decision, an override
            or an audit draw (which name their cases), or an adjudication.
        principal: Who asks: supervisor, admin or service.

    Raises:
        ForbiddenError: The role may not trace.
        NotFoundError: Nothing is stored under this id.
    """
    if principal.role not in MAY_TRACE:
        raise ForbiddenError(f"role {principal.role} may not trace; use a key of role {', '.join(MAY_TRACE)}")
    with engine.connect() as connection:
        kind, suggestion_id = _find(connection, identifier)
        made, differing = decisions_of(connection, suggestion_id), overrides_of_suggestion(connection, suggestion_id)
        drawn = connection.execute(select(audit_draws).where(audit_draws.c.suggestion_id == suggestion_id)).first()
        is_decided = any(one.decision.outcome == "decided" for one in made)
        if drawn is not None and not (principal.role is Role.ADMIN or _is_judged(connection, drawn.id)):
            # Who knows what is looked at would take care there only.
            drawn = None
        case_ids = [*(one.override_id for one in differing), *([] if drawn is None else [drawn.id])]
        log = _log(connection, suggestion_id, decision_ids=[one.decision_id for one in made], case_ids=case_ids)
        return Trace(
            asked_for=identifier,
            kind=kind,
            suggestion=_suggestion(
                connection,
                suggestion_id,
                sees_withheld=is_decided and principal.role in (Role.SUPERVISOR, Role.ADMIN),
                log=log,
            ),
            decisions=_decisions(connection, made, log=log),
            overrides=tuple(_override(one, log=log) for one in differing),
            audit_draw=None if drawn is None else _draw(drawn, log=log),
            adjudications=_adjudications(connection, suggestion_id, log=log),
        )


def _find(connection: Connection, identifier: str) -> tuple[Kind, str]:
    """What an id names, and the suggestion that it belongs to."""
    bare = identifier.removeprefix(RECORD_PREFIX)
    # PostgreSQL refuses some characters, such as null, in any text; no id holds one.
    if len(identifier) <= _MAX_ID_CHARACTERS and identifier.isascii() and identifier.isprintable():
        kind: Kind = "suggestion" if bare == identifier else "training-record"
        if connection.scalar(select(suggestions.c.id).where(suggestions.c.id == bare)):
            return kind, bare
        tables: Mapping[Kind, Any] = {
            "decision": decisions,
            "override": overrides,
            "audit-draw": audit_draws,
            "adjudication": adjudications,
        }
        for kind, table in tables.items():
            found = connection.scalar(select(table.c.suggestion_id).where(table.c.id == identifier))
            if found:
                return kind, found
    raise NotFoundError(
        f"nothing is stored under this id; give that of a training record ({RECORD_PREFIX}…), a suggestion, "
        "a decision, an override, an audit draw or an adjudication"
    )


def _log(
    connection: Connection, suggestion_id: str, *, decision_ids: Iterable[str], case_ids: Iterable[str]
) -> Mapping[str, Sequence[LogEntry]]:
    """Entries of the audit log by what they tell of: a subject, or of verdicts the adjudication id."""
    subjects = [f"suggestion:{suggestion_id}", *(f"decision:{decision_id}" for decision_id in decision_ids)]
    for case_id in case_ids:
        subjects += [f"case:{case_id}", f"audit-draw:{case_id}"]
    query = select(audit_log.c.subject, audit_log.c.entry).where(audit_log.c.subject.in_(subjects))
    found = defaultdict(list)
    for row in connection.execute(query.order_by(audit_log.c.seq)):
        entry = json.loads(row.entry)
        told = LogEntry(seq=entry["seq"], at=entry["at"], action=entry["action"], principal=entry["principal"])
        found[entry["details"].get("adjudication_id", row.subject)].append(told)
    return found


def _people(connection: Connection, ids: Iterable[str]) -> dict[str, Person]:
    rows = connection.execute(select(principals).where(principals.c.id.in_(set(ids))))
    return {row.id: Person(principal_id=row.id, name=row.name, role=Role(row.role)) for row in rows}


def _told(log: Mapping[str, Sequence[LogEntry]], *keys: str) -> tuple[LogEntry, ...]:
    return tuple(entry for key in keys for entry in log.get(key, ()))


def _suggestion(
    connection: Connection, suggestion_id: str, *, sees_withheld: bool, log: Mapping[str, Sequence[LogEntry]]
) -> TracedSuggestion:
    stored = load(connection, suggestion_id)
    # On the manual route people code without the model's help, and no answer may give it.
    is_shown = sees_withheld or RouteDecision(stored.route) is not RouteDecision.MANUAL
    row = connection.execute(
        select(suggestions.c.record_id, suggestions.c.version_number).where(suggestions.c.id == suggestion_id)
    ).one()
    return TracedSuggestion(
        suggestion_id=suggestion_id,
        record_id=row.record_id,
        stored_at=stored.stored_at,
        by=_people(connection, [stored.principal_id])[stored.principal_id],
        route=RouteDecision(stored.route),
        version_number=row.version_number,
        bundle_sha256=stored.bundle_sha256,
        content_sha256=stored.content_sha256,
        codes=_suggested(stored.suggestion) if stored.suggestion is not None and is_shown else None,
        log=_told(log, f"suggestion:{suggestion_id}"),
    )


def _is_judged(connection: Connection, draw_id: str) -> bool:
    query = select(adjudications.c.id).where(adjudications.c.case_id == draw_id)
    return connection.execute(query).first() is not None


def _suggested(suggestion: Suggestion) -> tuple[TracedCode, ...]:
    return tuple(
        TracedCode(system=code.system, code=code.code, confidence=code.confidence) for code in suggestion.codes
    )


def _decisions(
    connection: Connection, made: Sequence[StoredDecision], *, log: Mapping[str, Sequence[LogEntry]]
) -> tuple[TracedDecision, ...]:
    people = _people(connection, (one.principal_id for one in made))
    return tuple(
        TracedDecision(
            decision_id=one.decision_id,
            decided_at=one.decided_at,
            by=people[one.principal_id],
            outcome=one.decision.outcome,
            seconds_spent=one.decision.seconds_spent,
            codes=one.decision.codes,
            log=_told(log, f"decision:{one.decision_id}"),
        )
        for one in made
    )


def _override(one: Override, *, log: Mapping[str, Sequence[LogEntry]]) -> TracedOverride:
    return TracedOverride(
        override_id=one.override_id,
        decision_id=one.decision_id,
        action=one.action,
        system=one.system,
        code=one.code,
        to=one.to_code,
        reason=one.reason,
        log=_told(log, f"case:{one.override_id}"),
    )


def _draw(row: Row[Any], *, log: Mapping[str, Sequence[LogEntry]]) -> TracedDraw:
    return TracedDraw(
        audit_draw_id=row.id,
        stratum=row.stratum,
        probability=row.probability,
        drawn_at=row.drawn_at,
        log=_told(log, f"audit-draw:{row.id}", f"case:{row.id}"),
    )


def _adjudications(
    connection: Connection, suggestion_id: str, *, log: Mapping[str, Sequence[LogEntry]]
) -> tuple[TracedAdjudication, ...]:
    query = select(adjudications.c.id, adjudications.c.principal_id).where(
        adjudications.c.suggestion_id == suggestion_id
    )
    givers = {row.id: row.principal_id for row in connection.execute(query)}
    people = _people(connection, givers.values())
    return tuple(
        TracedAdjudication(
            adjudication_id=one.adjudication_id,
            case_id=one.override_id or one.audit_draw_id or "",
            adjudicated_at=one.adjudicated_at,
            by=people[givers[one.adjudication_id]],
            verdict=one.verdict,
            codes=one.codes,
            citation=one.citation,
            round=one.round,
            blinded=one.blinded,
            log=_told(log, one.adjudication_id),
        )
        for one in adjudications_of(connection, suggestion_id)
    )
