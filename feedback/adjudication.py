"""A supervisor's verdict on a case, kept for good (stage 9).

What a case is about never changes, so that verdict and codes are checked beside the writer; one
transaction then looks at the claim, keeps the verdict with the codes that it teaches, closes the case
and appends to the audit log. It does not know how training records are made of it (``feedback.labels``).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine, Row, Select, insert, select, update

from clinical_coding.artefact import new_id
from clinical_coding.code_systems import CodeSystems, Standing
from clinical_coding.codes import Code, CodeState, Provenance
from clinical_coding.decisions import Adjudication, Verdict
from feedback.case_view import CaseContent, load_content
from feedback.cases import Case, check_claim, check_not_own, check_supervisor, load_case
from feedback.code_validity import check_valid
from feedback.errors import ConflictError, InvalidError, NotFoundError
from feedback.tables import adjudications, cases
from feedback.verdicts import AdjudicationRequest, CaseKind, carry_evidence, check_evidence, label
from ledger.audit_log import append
from ledger.group_commit import write
from ledger.principals import Principal

__all__ = ["adjudicate", "adjudications_of", "adjudications_of_suggestions", "load_adjudication"]

_ROUND: Final = 1
_CODES: Final = TypeAdapter(tuple[Code, ...])


@dataclass(frozen=True, slots=True)
class _Ruling:
    """A verdict that fits its case, before it is kept."""

    adjudication_id: str
    verdict: Verdict
    citation: str
    codes: tuple[Code, ...]

    def says_the_same(self, row: Row[Any]) -> bool:
        kept = _without_source(_CODES.validate_json(row.codes))
        return (row.verdict, row.citation, kept) == (self.verdict, self.citation, _without_source(self.codes))


def adjudicate(
    engine: Engine, case_id: str, asked: AdjudicationRequest, *, principal: Principal, systems: CodeSystems
) -> Adjudication:
    """Give the verdict on a case that one holds.

    Args:
        engine: A migrated database.
        case_id: Id of the override, or of the audit draw.
        asked: The verdict.
        principal: The supervisor who claimed the case.
        systems: The releases that judge the codes, by the encounter's date of coding.

    Returns:
        What is kept. The same verdict sent again, because an answer was lost, returns the first one.

    Raises:
        ClaimError: The case is not, or no longer, claimed by this principal.
        ConflictError: Another verdict was given, or the notes were purged.
        ForbiddenError: The principal is no supervisor, or it is a case of an own decision.
        InvalidError: Verdict and codes contradict each other or the case, or a code is not valid.
        NotFoundError: There is no such case.
    """
    check_supervisor(principal)
    with engine.connect() as connection:
        case = load_case(connection, case_id)
        check_not_own(case, principal=principal)
        content = load_content(connection, case, systems=systems)
    ruling = _rule(content, asked, systems=systems)

    def work(connection: Connection) -> Row[Any]:
        kept = connection.execute(_of_case(case_id)).one_or_none()
        if kept is None:
            _check_still_held(connection, case_id, principal=principal)
            _keep(connection, ruling, case=case, principal=principal)
            return connection.execute(_of_case(case_id)).one()
        if kept.principal_id != principal.id or not ruling.says_the_same(kept):
            raise ConflictError(f"case {case_id} is closed: another verdict was given; take another case")
        return kept

    return _adjudication(write(engine, work))


def load_adjudication(engine: Engine, adjudication_id: str) -> Adjudication:
    """Find a verdict.

    Raises:
        NotFoundError: There is none under this id.
    """
    query = _kept().where(adjudications.c.id == adjudication_id)
    # PostgreSQL refuses some characters, such as null, in any text; no id holds one.
    is_id = adjudication_id.isascii() and adjudication_id.isprintable()
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none() if is_id else None
    if row is None:
        raise NotFoundError("no adjudication is stored under this id; a closed case names its adjudication")
    return _adjudication(row)


def adjudications_of(connection: Connection, suggestion_id: str) -> tuple[Adjudication, ...]:
    """All verdicts on a suggestion's cases, oldest first."""
    return adjudications_of_suggestions(connection, [suggestion_id]).get(suggestion_id, ())


def adjudications_of_suggestions(
    connection: Connection, suggestion_ids: Iterable[str]
) -> dict[str, tuple[Adjudication, ...]]:
    """All verdicts on the cases of some suggestions, oldest first, by suggestion; those without any are left out."""
    query = _kept().where(adjudications.c.suggestion_id.in_(list(suggestion_ids)))
    found: dict[str, tuple[Adjudication, ...]] = {}
    for row in connection.execute(query.order_by(adjudications.c.adjudicated_at, adjudications.c.id)):
        found[row.suggestion_id] = (*found.get(row.suggestion_id, ()), _adjudication(row))
    return found


def _rule(content: CaseContent, asked: AdjudicationRequest, *, systems: CodeSystems) -> _Ruling:
    """Judge the request against the case, and work out the codes that it teaches."""
    on = content.date_of_coding
    for position, code in enumerate(asked.codes or ()):
        if code.release not in (None, _release(code, on=on, systems=systems)):
            raise InvalidError(
                f"codes.{position}.release {code.release!r} is not held, or is not the one that has the code on the "
                "date of coding; leave it out"
            )
    check_evidence(asked.codes or (), notes=content.request.notes)
    adjudication_id = new_id()
    codes = label(content.answers, asked, adjudication_id=adjudication_id)
    for code in codes:
        # A code may well be wrong because it is not valid.
        if code.state is CodeState.POSITIVE:
            check_valid(code.system, code.code, field=f"verdict {asked.verdict}: code", on=on, systems=systems)
    released = (code.model_copy(update={"release": _release(code, on=on, systems=systems)}) for code in codes)
    codes = carry_evidence(released, suggested=content.suggestion.codes)
    return _Ruling(adjudication_id, asked.verdict, asked.citation, codes)


def _release(code: Code, *, on: date | None, systems: CodeSystems) -> str | None:
    """The release in force on a day, where one is held in which the code is valid."""
    release = systems.in_force(code.system, on)
    if release is None or systems.standing_in(release, code.code, on) is not Standing.VALID:
        return None
    return release.name


def _check_still_held(connection: Connection, case_id: str, *, principal: Principal) -> None:
    case = load_case(connection, case_id)
    # A coder may have decided a drawn suggestion since, and be the one who judges it.
    check_not_own(case, principal=principal)
    check_claim(case, principal=principal, now=datetime.now(UTC))


def _keep(connection: Connection, ruling: _Ruling, *, case: Case, principal: Principal) -> None:
    codes = _CODES.dump_json(ruling.codes).decode()
    connection.execute(
        insert(adjudications).values(
            id=ruling.adjudication_id,
            case_id=case.case_id,
            suggestion_id=case.suggestion_id,
            principal_id=principal.id,
            adjudicated_at=datetime.now(UTC),
            verdict=ruling.verdict.value,
            codes=codes,
            citation=ruling.citation,
            round=_ROUND,
            blinded=False,
        )
    )
    closed = {"state": "closed", "claimed_by": None, "claimed_until": None}
    connection.execute(update(cases).where(cases.c.id == case.case_id).values(closed))
    append(
        connection,
        principal=principal,
        action="case-adjudicated",
        subject=f"case:{case.case_id}",
        details={
            "adjudication_id": ruling.adjudication_id,
            "kind": case.kind.value,
            "suggestion_id": case.suggestion_id,
            "verdict": ruling.verdict.value,
            "round": _ROUND,
            "num_codes": len(ruling.codes),
            # Of the stored columns, so that a change of either is found out.
            "codes_sha256": _sha256(codes),
            "citation_sha256": _sha256(ruling.citation),
        },
    )


def _kept() -> Select[Any]:
    return select(adjudications, cases.c.kind).join(cases, cases.c.id == adjudications.c.case_id)


def _of_case(case_id: str) -> Select[Any]:
    return _kept().where(adjudications.c.case_id == case_id, adjudications.c.round == _ROUND)


def _adjudication(row: Row[Any]) -> Adjudication:
    is_override = row.kind == CaseKind.OVERRIDE
    return Adjudication(
        adjudication_id=row.id,
        override_id=row.case_id if is_override else None,
        audit_draw_id=None if is_override else row.case_id,
        verdict=Verdict(row.verdict),
        codes=_CODES.validate_json(row.codes),
        citation=row.citation,
        round=row.round,
        blinded=row.blinded,
        adjudicated_at=row.adjudicated_at,
    )


def _without_source(codes: tuple[Code, ...]) -> list[Code]:
    return [code.model_copy(update={"provenance": Provenance()}) for code in codes]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
