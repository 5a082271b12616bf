"""One case of the queue, and who may do what with it (stage 9).

It knows the queue's row alone: neither notes (``feedback.case_view``) nor verdicts (``feedback.verdicts``).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, select

from feedback.errors import ClaimError, ConflictError, ForbiddenError, NotFoundError
from feedback.tables import cases
from feedback.verdicts import CaseKind
from ledger.principals import Principal, Role
from ledger.suggestions import suggestion_contents

__all__ = ["Case", "case_of", "check_claim", "check_not_own", "check_notes", "check_supervisor", "load_case", "purged"]


@dataclass(frozen=True, slots=True)
class Case:
    """What the queue says of a case."""

    case_id: str
    """Id of the override, or of the audit draw."""
    kind: CaseKind
    suggestion_id: str
    coder_id: str | None
    """Who decided; null when no coder did."""
    priority: int
    """Cases are offered lowest first, then oldest first."""
    opened_at: datetime
    is_open: bool
    claimed_by: str | None
    claimed_until: datetime | None

    def holder(self, now: datetime) -> str | None:
        """The id of the principal whose claim stands now."""
        return self.claimed_by if self.claimed_until is not None and self.claimed_until > now else None


def load_case(connection: Connection, case_id: str) -> Case:
    """Find a case.

    Raises:
        NotFoundError: There is none under this id.
    """
    # PostgreSQL refuses some characters, such as null, in any text; no id holds one.
    is_id = case_id.isascii() and case_id.isprintable()
    row = connection.execute(select(cases).where(cases.c.id == case_id)).one_or_none() if is_id else None
    if row is None:
        raise NotFoundError("no case is stored under this id; the queue lists the cases with their ids")
    return case_of(row)


def case_of(row: Row[Any]) -> Case:
    """Read a case from its whole row."""
    return Case(
        case_id=row.id,
        kind=CaseKind(row.kind),
        suggestion_id=row.suggestion_id,
        coder_id=row.coder_id,
        priority=row.priority,
        opened_at=row.opened_at,
        is_open=row.state == "open",
        claimed_by=row.claimed_by,
        claimed_until=row.claimed_until,
    )


def check_supervisor(principal: Principal) -> None:
    """See to it that only supervisors reach the queue.

    Raises:
        ForbiddenError: The principal has another role.
    """
    if principal.role is not Role.SUPERVISOR:
        raise ForbiddenError(
            f"role {principal.role} may not see or judge cases; use a supervisor's key, made by "
            "`chartloop keys create --role supervisor --name NAME` and given by --key or CHARTLOOP_KEY"
        )


def check_not_own(case: Case, *, principal: Principal) -> None:
    """See to it that nobody judges an own decision.

    Raises:
        ForbiddenError: The case is of a decision of this principal.
    """
    if case.coder_id == principal.id:
        raise ForbiddenError(f"case {case.case_id} is of a decision of your own; another supervisor must judge it")


def check_notes(connection: Connection, case: Case) -> None:
    """See to it that the notes are there to be judged by.

    Raises:
        ConflictError: A retention policy removed them.
    """
    query = select(exists().where(suggestion_contents.c.suggestion_id == case.suggestion_id))
    if not connection.scalar(query):
        raise purged(case)


def purged(case: Case) -> ConflictError:
    """The error of a case whose notes a retention policy removed."""
    return ConflictError(f"the notes of case {case.case_id} were purged, so that nobody can judge it; take another")


def check_claim(case: Case, *, principal: Principal, now: datetime) -> None:
    """See to it that a verdict comes from whoever holds the case.

    Raises:
        ClaimError: Another supervisor holds it, or nobody, or the claim has expired.
    """
    holder = case.holder(now)
    if holder == principal.id:
        return
    if holder is not None:
        raise ClaimError(f"case {case.case_id} is claimed by another supervisor; take another case")
    ended = (
        f"your claim ended at {_moment(case.claimed_until)}" if case.claimed_by == principal.id else "nobody holds it"
    )
    raise ClaimError(f"case {case.case_id} is not claimed by you ({ended}); claim it and send the verdict again")


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"
