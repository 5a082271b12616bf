"""Overrides: where a coder's codes differ from the suggested ones, code by code (the end of stage 8)."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select

from clinical_coding.artefact import new_id
from clinical_coding.codes import CodeSystem
from clinical_coding.decisions import CodeAction, Decision
from clinical_coding.suggestions import RouteDecision
from feedback.errors import InvalidError
from feedback.tables import cases, overrides
from ledger.suggestions import StoredSuggestion

__all__ = [
    "Override",
    "apply_decision",
    "derive_overrides",
    "final_codes",
    "insert_overrides",
    "overrides_of_decisions",
    "overrides_of_suggestion",
]


# Made once: making a statement costs as much as running it.
_INSERT_OVERRIDES: Final = insert(overrides)
_OPEN_CASES: Final = insert(cases)


@dataclass(frozen=True, slots=True)
class Override:
    """One code in which a coder differs from a suggestion."""

    override_id: str
    """Also the id of the case that supervisors see."""
    decision_id: str
    suggestion_id: str
    principal_id: str
    """The coder's."""
    action: CodeAction
    """Modify, reject or add."""
    system: CodeSystem
    code: str
    """The suggested code, or the added one."""
    to_code: str | None
    """The code in its place, when modified."""
    reason: str
    """A reason code."""
    created_at: datetime

    @property
    def suggested_key(self) -> str | None:
        """The label key that the coder took away; null when a code was added."""
        return None if self.action is CodeAction.ADD else f"{self.system}:{self.code}"

    @property
    def coder_key(self) -> str | None:
        """The label key that the coder brought in; null when a code was rejected."""
        code = self.code if self.action is CodeAction.ADD else self.to_code
        return None if code is None else f"{self.system}:{code}"


def derive_overrides(
    decision: Decision, *, route: RouteDecision, decision_id: str, principal_id: str, created_at: datetime
) -> tuple[Override, ...]:
    """Take the difference between a suggestion and a decision that was checked against it.

    Returns:
        One override for each code modified, rejected or added; none on the manual route, where the
        coder saw no suggestion to differ from.
    """
    if route is RouteDecision.MANUAL:
        return ()
    differing = [code for code in decision.codes if code.action is not CodeAction.ACCEPT]
    # Ids made within one millisecond come in any order; sorted, they read back in the decision's own.
    ids = sorted(new_id() for _ in differing)
    return tuple(
        Override(
            override_id=override_id,
            decision_id=decision_id,
            suggestion_id=decision.suggestion_id,
            principal_id=principal_id,
            action=code.action,
            system=code.system,
            code=code.code,
            to_code=code.to,
            reason=code.reason or "",
            created_at=created_at,
        )
        for override_id, code in zip(ids, differing, strict=True)
    )


def apply_decision(suggested: Iterable[str], *, decision: Decision) -> frozenset[str]:
    """Carry out a decision on a set of label keys."""
    keys = set(suggested)
    for code in decision.codes:
        if code.action in (CodeAction.REJECT, CodeAction.MODIFY):
            keys.remove(code.key)
    keys.update(code.key for code in decision.codes if code.action is CodeAction.ADD)
    keys.update(code.to_key for code in decision.codes if code.to_key is not None)
    return frozenset(keys)


def final_codes(stored: StoredSuggestion, decision: Decision | None) -> frozenset[str]:
    """The label keys that stand in the end.

    Args:
        stored: The suggestion, its content not purged.
        decision: What was decided on it; null where no coder decided.

    Returns:
        The suggested codes with the decision carried out; on the manual route, where none were shown,
        the coder's alone; on the autonomous route without a decision the suggested codes.

    Raises:
        InvalidError: Nobody has decided yet, or the content was purged.
    """
    if stored.suggestion is None:
        raise InvalidError(f"suggestion {stored.suggestion_id}: its content was purged, so its codes are not known")
    suggested = {f"{code.system}:{code.code}" for code in stored.suggestion.codes}
    if decision is not None and decision.outcome == "decided":
        return apply_decision(() if stored.route == RouteDecision.MANUAL else suggested, decision=decision)
    if stored.route != RouteDecision.AUTONOMOUS:
        raise InvalidError(
            f"suggestion {stored.suggestion_id} is not decided, so it has no final codes; decide it first"
        )
    return frozenset(suggested)


def insert_overrides(connection: Connection, made: Sequence[tuple[Override, int]]) -> None:
    """Store overrides and open their cases, in the transaction that stores their decisions.

    Args:
        connection: Inside ``ledger.group_commit.write``, after the decisions were stored.
        made: The overrides, each with its case's place in the queue.
    """
    if not made:
        return
    rows = []
    for override, _ in made:
        row = asdict(override) | {"action": override.action.value, "system": override.system.value}
        rows.append(row | {"id": row.pop("override_id")})
    connection.execute(_INSERT_OVERRIDES, rows)
    opened = [
        {
            "id": override.override_id,
            "kind": "override",
            "suggestion_id": override.suggestion_id,
            "coder_id": override.principal_id,
            "priority": priority,
            "opened_at": override.created_at,
            "state": "open",
        }
        for override, priority in made
    ]
    connection.execute(_OPEN_CASES, opened)


def overrides_of_suggestion(connection: Connection, suggestion_id: str) -> tuple[Override, ...]:
    """The overrides of a suggestion, in the order of its decision."""
    rows = connection.execute(
        select(overrides).where(overrides.c.suggestion_id == suggestion_id).order_by(overrides.c.id)
    )
    return tuple(_override(row) for row in rows)


def overrides_of_decisions(connection: Connection, decision_ids: Iterable[str]) -> dict[str, tuple[Override, ...]]:
    """The overrides of decisions, by decision; those without any are left out."""
    found: dict[str, tuple[Override, ...]] = {}
    rows = connection.execute(
        select(overrides).where(overrides.c.decision_id.in_(list(decision_ids))).order_by(overrides.c.id)
    )
    for row in rows:
        found[row.decision_id] = (*found.get(row.decision_id, ()), _override(row))
    return found


def _override(row: Row[Any]) -> Override:
    return Override(
        override_id=row.id,
        decision_id=row.decision_id,
        suggestion_id=row.suggestion_id,
        principal_id=row.principal_id,
        action=CodeAction(row.action),
        system=CodeSystem(row.system),
        code=row.code,
        to_code=row.to_code,
        reason=row.reason,
        created_at=row.created_at,
    )
