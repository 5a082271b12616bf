"""What a decision is judged against: the codes of a stored suggestion, its route and date of coding.

Read for many suggestions at once, and without the notes wherever the date of coding is told beside them. It
knows no decision.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, bindparam, case, select

from clinical_coding.code_systems import date_of_coding
from clinical_coding.records import Encounter, Setting
from clinical_coding.suggestions import PRE_CODING_RULE, RouteDecision
from ledger.suggestions import suggestion_contents, suggestions

__all__ = ["Shown", "load_shown"]


# A stay is coded by its discharge, which the request alone tells; elsewhere the start of service is enough.
_TOLD_BY_END: Final = (suggestions.c.setting == Setting.INPATIENT.value) | suggestions.c.service_start.is_(None)
# Made once: making a statement costs as much as running it.
_SHOWN: Final = (
    select(
        suggestions.c.id,
        suggestions.c.route,
        suggestions.c.specialty,
        suggestions.c.service_start,
        suggestions.c.content_sha256,
        suggestion_contents.c.suggestion,
        case((_TOLD_BY_END, suggestion_contents.c.request)).label("request"),
    )
    .outerjoin(suggestion_contents, suggestion_contents.c.suggestion_id == suggestions.c.id)
    .where(suggestions.c.id.in_(bindparam("ids", expanding=True)))
)


class _Asked(BaseModel):
    """A stored request's encounter alone; it was validated whole when it was stored."""

    model_config = ConfigDict(frozen=True)

    encounter: Encounter


@dataclass(frozen=True, slots=True)
class Shown:
    """A suggestion, as far as a decision on it needs to know it."""

    suggestion_id: str
    route: RouteDecision
    """On the manual route the codes were withheld from the coder."""
    specialty: str
    date_of_coding: date | None
    """Its releases judge the codes; null when no date of service is known."""
    content_sha256: str
    keys: frozenset[str] | None
    """The label keys of all its codes; null when its content was purged."""
    is_check: bool = False
    """True for a check of the documentation alone, which holds no codes to decide on."""


def load_shown(connection: Connection, suggestion_ids: Iterable[str]) -> dict[str, Shown]:
    """Find suggestions.

    Returns:
        Those that are stored, by their ids.
    """
    # PostgreSQL refuses some characters, such as null, in any text; no id holds one.
    asked = {suggestion_id for suggestion_id in suggestion_ids if suggestion_id.isprintable()}
    rows = connection.execute(_SHOWN, {"ids": list(asked)})
    return {row.id: _shown(row) for row in rows}


def _shown(row: Any) -> Shown:
    # Written by us from a validated suggestion, so that it need not be validated again.
    suggestion = None if row.suggestion is None else json.loads(row.suggestion)
    return Shown(
        suggestion_id=row.id,
        route=RouteDecision(row.route),
        specialty=row.specialty,
        date_of_coding=_date_of_coding(row.request, service_start=row.service_start),
        content_sha256=row.content_sha256,
        keys=None
        if suggestion is None
        else frozenset(f"{code['system']}:{code['code']}" for code in suggestion["codes"]),
        is_check=suggestion is not None and PRE_CODING_RULE in suggestion["route"]["rules"],
    )


def _date_of_coding(request: str | None, *, service_start: date | None) -> date | None:
    return service_start if request is None else date_of_coding(_Asked.model_validate_json(request).encounter)
