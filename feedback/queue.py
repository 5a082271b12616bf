"""The queue of cases and who holds which (stage 9): list, take the next, claim, release.

A claim is a lock with an end: whoever holds it may give the verdict until then, and afterwards the
case is anybody's again. Writes of the ledger run one after the other (``ledger.group_commit``), so
that looking for a free case and claiming it cannot interleave with another supervisor's. Nobody is
offered, or shown, a case of an own decision. Opening a case opens a patient's note, so each claim
and each look is in the audit log. It does not know what a verdict means (``feedback.verdicts``).
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, exists, func, or_, select, tuple_, update

from clinical_coding.artefact import Artefact
from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeSystem
from clinical_coding.decisions import CodeAction
from feedback.case_view import CaseView, view
from feedback.cases import Case, case_of, check_not_own, check_notes, check_supervisor, load_case
from feedback.errors import ClaimError, ConflictError, InvalidError
from feedback.settings import FeedbackSettings
from feedback.tables import cases, overrides
from feedback.verdicts import CaseKind
from ledger.audit_log import append
from ledger.group_commit import write
from ledger.principals import Principal
from ledger.suggestions import suggestion_contents, suggestions

__all__ = [
    "MAX_COUNTED",
    "MAX_PAGE",
    "CaseSummary",
    "QueuePage",
    "claim",
    "list_cases",
    "next_case",
    "release",
    "show",
]

MAX_PAGE: Final = 200
# Counting more would take longer than finding the cases.
MAX_COUNTED: Final = 10_000


class CaseSummary(Artefact):
    """A case of the queue, without clinical text."""

    case_id: str
    kind: CaseKind
    suggestion_id: str
    specialty: str
    setting: str
    opened_at: datetime
    action: CodeAction | None
    """What the coder did; null on an audit, which judges all codes."""
    system: CodeSystem | None
    code: str | None
    to: str | None
    reason: str | None
    claimed_until: datetime | None
    """Null when nobody holds it now."""
    is_yours: bool
    """True when you hold it now."""


class QueuePage(Artefact):
    """Some of the open cases, in the order in which they are offered."""

    cases: tuple[CaseSummary, ...]
    num_open: int
    """Open cases of the whole queue, those included that you may not judge; counted up to 10,000."""
    next_after: str | None
    """Give it as ``after`` to get the next page; null on the last one."""


@dataclass(frozen=True, slots=True)
class _Viewer:
    """Who looks, and when."""

    principal: Principal
    now: datetime

    def offered(self) -> ColumnElement[bool]:
        """Open, not of an own decision, and the notes still there to be judged."""
        has_notes = exists().where(suggestion_contents.c.suggestion_id == cases.c.suggestion_id)
        not_own = or_(cases.c.coder_id.is_(None), cases.c.coder_id != self.principal.id)
        return (cases.c.state == "open") & not_own & has_notes

    def free(self) -> ColumnElement[bool]:
        return or_(cases.c.claimed_until.is_(None), cases.c.claimed_until <= self.now)

    def mine(self) -> ColumnElement[bool]:
        return (cases.c.claimed_by == self.principal.id) & (cases.c.claimed_until > self.now)


def list_cases(engine: Engine, *, principal: Principal, limit: int = 50, after: str | None = None) -> QueuePage:
    """List the open cases that this supervisor may judge, in the order in which they are offered.

    Args:
        engine: A migrated database.
        principal: A supervisor.
        limit: Of cases, at most ``MAX_PAGE``.
        after: The ``next_after`` of the page before.

    Raises:
        ForbiddenError: The principal is no supervisor.
        InvalidError: The limit is out of range.
        NotFoundError: No case has the id given as ``after``.
    """
    check_supervisor(principal)
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidError(f"limit {limit} is out of range; expected 1 to {MAX_PAGE}")
    viewer = _Viewer(principal, datetime.now(UTC))
    place = tuple_(cases.c.priority, cases.c.opened_at, cases.c.id)
    query = _summaries().where(viewer.offered()).limit(limit + 1)
    with engine.connect() as connection:
        if after is not None:
            last = load_case(connection, after)
            query = query.where(place > tuple_(last.priority, last.opened_at, last.case_id))
        rows = connection.execute(query).all()
        some = select(cases.c.id).where(cases.c.state == "open").limit(MAX_COUNTED).subquery()
        num_open = connection.scalar(select(func.count()).select_from(some))
    shown = tuple(_summary(row, viewer) for row in rows[:limit])
    return QueuePage(cases=shown, num_open=num_open or 0, next_after=shown[-1].case_id if len(rows) > limit else None)


def next_case(
    engine: Engine, *, principal: Principal, settings: FeedbackSettings, systems: CodeSystems
) -> CaseView | None:
    """Claim the case that is due, and show it.

    Who holds a case already is given that one again, its claim prolonged: asking twice, because an
    answer was lost, locks no second case.

    Args:
        engine: A migrated database.
        principal: A supervisor.
        settings: How long a claim lasts.
        systems: The releases that describe codes.

    Returns:
        The case, or None when none is free.

    Raises:
        ForbiddenError: The principal is no supervisor.
    """
    check_supervisor(principal)

    def work(connection: Connection) -> Case | None:
        viewer = _Viewer(principal, datetime.now(UTC))
        due = select(cases).where(viewer.offered()).order_by(cases.c.priority, cases.c.opened_at, cases.c.id).limit(1)
        # Who holds what is found through an index of its own, before the queue is walked.
        for condition in (viewer.mine(), viewer.free()):
            row = connection.execute(due.where(condition)).one_or_none()
            if row is not None:
                return _hold(connection, case_of(row), viewer=viewer, settings=settings)
        return None

    case = write(engine, work)
    return None if case is None else _view(engine, case, principal=principal, systems=systems)


def claim(
    engine: Engine, case_id: str, *, principal: Principal, settings: FeedbackSettings, systems: CodeSystems
) -> CaseView:
    """Claim one case, or prolong one's claim, and show it.

    Args:
        engine: A migrated database.
        case_id: Id of the override, or of the audit draw.
        principal: A supervisor.
        settings: How long a claim lasts.
        systems: The releases that describe codes.

    Raises:
        ClaimError: Another supervisor holds it.
        ConflictError: It is closed, or its notes were purged.
        ForbiddenError: The principal is no supervisor, or it is a case of an own decision.
        NotFoundError: There is no such case.
    """
    check_supervisor(principal)

    def work(connection: Connection) -> Case:
        viewer = _Viewer(principal, datetime.now(UTC))
        case = _open_case(connection, case_id, principal=principal)
        check_notes(connection, case)
        if case.holder(viewer.now) not in (None, principal.id):
            raise ClaimError(f"case {case_id} is claimed by another supervisor; take another case")
        return _hold(connection, case, viewer=viewer, settings=settings)

    return _view(engine, write(engine, work), principal=principal, systems=systems)


def release(engine: Engine, case_id: str, *, principal: Principal) -> None:
    """Give a claimed case back to the queue. Releasing what nobody holds changes nothing.

    Raises:
        ClaimError: Another supervisor holds it.
        ConflictError: It is closed.
        ForbiddenError: The principal is no supervisor, or it is a case of an own decision.
        NotFoundError: There is no such case.
    """
    check_supervisor(principal)

    def work(connection: Connection) -> None:
        case = _open_case(connection, case_id, principal=principal)
        if case.holder(datetime.now(UTC)) not in (None, principal.id):
            raise ClaimError(f"case {case_id} is claimed by another supervisor; only its holder can release it")
        if case.claimed_by == principal.id:
            connection.execute(update(cases).where(cases.c.id == case_id).values(claimed_by=None, claimed_until=None))
            _log(connection, "case-released", case, principal=principal)

    write(engine, work)


def show(engine: Engine, case_id: str, *, principal: Principal, systems: CodeSystems) -> CaseView:
    """Show a case, open or closed, without claiming it.

    Raises:
        ConflictError: Its notes were purged.
        ForbiddenError: The principal is no supervisor, or it is a case of an own decision.
        NotFoundError: There is no such case.
    """
    check_supervisor(principal)

    def work(connection: Connection) -> Case:
        case = load_case(connection, case_id)
        check_not_own(case, principal=principal)
        _log(connection, "case-shown", case, principal=principal)
        return case

    return _view(engine, write(engine, work), principal=principal, systems=systems)


def _open_case(connection: Connection, case_id: str, *, principal: Principal) -> Case:
    case = load_case(connection, case_id)
    check_not_own(case, principal=principal)
    if not case.is_open:
        raise ConflictError(f"case {case_id} is closed: a verdict was given; take another case")
    return case


def _hold(connection: Connection, case: Case, *, viewer: _Viewer, settings: FeedbackSettings) -> Case:
    until, who = viewer.now + timedelta(minutes=settings.claim_minutes), viewer.principal
    connection.execute(update(cases).where(cases.c.id == case.case_id).values(claimed_by=who.id, claimed_until=until))
    ends = until.isoformat(timespec="seconds")
    _log(connection, "case-claimed", case, principal=who, claimed_until=ends)
    return replace(case, claimed_by=who.id, claimed_until=until)


def _log(connection: Connection, action: str, case: Case, *, principal: Principal, **details: str) -> None:
    details |= {"kind": case.kind.value, "suggestion_id": case.suggestion_id}
    append(connection, principal=principal, action=action, subject=f"case:{case.case_id}", details=details)


def _view(engine: Engine, case: Case, *, principal: Principal, systems: CodeSystems) -> CaseView:
    with engine.connect() as connection:
        return view(connection, case, principal=principal, systems=systems)


def _summaries() -> Select[Any]:
    return (
        select(
            cases,
            suggestions.c.specialty,
            suggestions.c.setting,
            overrides.c.action,
            overrides.c.system,
            overrides.c.code,
            overrides.c.to_code,
            overrides.c.reason,
        )
        .join(suggestions, suggestions.c.id == cases.c.suggestion_id)
        .outerjoin(overrides, overrides.c.id == cases.c.id)
        .order_by(cases.c.priority, cases.c.opened_at, cases.c.id)
    )


def _summary(row: Row[Any], viewer: _Viewer) -> CaseSummary:
    is_held = row.claimed_until is not None and row.claimed_until > viewer.now
    return CaseSummary(
        case_id=row.id,
        kind=CaseKind(row.kind),
        suggestion_id=row.suggestion_id,
        specialty=row.specialty,
        setting=row.setting,
        opened_at=row.opened_at,
        action=None if row.action is None else CodeAction(row.action),
        system=None if row.system is None else CodeSystem(row.system),
        code=row.code,
        to=row.to_code,
        reason=row.reason,
        claimed_until=row.claimed_until if is_held else None,
        is_yours=is_held and row.claimed_by == viewer.principal.id,
    )
