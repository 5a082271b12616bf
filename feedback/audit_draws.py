"""The random audit: a share of what nobody disputed is drawn into the supervisors' queue.

Overrides show only the errors that coders saw. What coders accepted, and what no coder looked at,
is sampled: each suggestion with a known probability, which is stored, so that error rates can be
estimated without bias by weighting each drawn one with its inverse (Horvitz and Thompson 1952,
doi:10.1080/01621459.1952.10483446). The draw is unforeseeable, and no answer to a coder tells it;
who knows what is looked at would take care there only.

Two strata: ``accepted``, suggestions on the assisted route that a coder let stand whole; and
``autonomous``. Suggestions that a coder overrode in part are in neither: they are in the queue already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random, SystemRandom
from typing import Final, Literal

from sqlalchemy import Connection, bindparam, func, insert, select, update

from clinical_coding.artefact import new_id
from clinical_coding.suggestions import RouteDecision, Suggestion, SuggestionRequest
from feedback.settings import FeedbackSettings
from feedback.tables import audit_draws, cases
from ledger.audit_log import Entry, append_all
from ledger.principals import Principal
from ledger.suggestions import suggestions

__all__ = ["SECURE_SOURCE", "Lot", "draw", "draw_autonomous", "inclusion_probability", "name_coder"]

Stratum = Literal["accepted", "autonomous"]
# The operating system's generator: past draws do not tell the next.
SECURE_SOURCE: Final[Random] = SystemRandom()
# Made once: making a statement costs as much as running it.
_FIRST_STORED: Final = select(func.min(suggestions.c.stored_at)).where(
    suggestions.c.specialty == bindparam("specialty")
)
_DRAWN: Final = select(audit_draws.c.suggestion_id).where(
    audit_draws.c.suggestion_id.in_(bindparam("suggestion_ids", expanding=True))
)
_INSERT_DRAWS: Final = insert(audit_draws)
_INSERT_CASES: Final = insert(cases)


@dataclass(frozen=True, slots=True)
class Lot:
    """A suggestion that may be drawn."""

    suggestion_id: str
    stratum: Stratum
    """What became of it."""
    specialty: str
    """Its service line."""
    principal: Principal
    """Who brought it here."""
    coder_id: str | None
    """Who decided it, and so may not judge the case; null while nobody has."""
    settings: FeedbackSettings
    """The shares, and the place in the queue."""
    chance: float
    """From 0 to below 1; drawn when below the inclusion probability."""


def inclusion_probability(
    connection: Connection, *, stratum: Stratum, specialty: str, settings: FeedbackSettings, at: datetime
) -> float:
    """The chance that a suggestion is drawn.

    Args:
        connection: To the database.
        stratum: What became of it.
        specialty: Its service line, which is young until ``first_year_days`` after its first stored suggestion.
        settings: The shares.
        at: The moment of the draw.
    """
    first = connection.execute(_FIRST_STORED, {"specialty": specialty}).scalar_one()
    is_young = first is None or at - first < timedelta(days=settings.first_year_days)
    share: float = getattr(settings, f"first_year_{stratum}_share" if is_young else f"{stratum}_share")
    return share


def draw(connection: Connection, lots: Sequence[Lot]) -> list[Entry]:
    """Draw some of these suggestions; none twice.

    Args:
        connection: Inside ``ledger.group_commit.write``, in the transaction that stores what brought them here.
        lots: Suggestions, each once.

    Returns:
        What the caller is to append to the audit log, in the same transaction.
    """
    # Most are not drawn whatever the age of the service line, and cost no look at the database.
    near = [lot for lot in lots if lot.chance < getattr(lot.settings, f"first_year_{lot.stratum}_share")]
    if not near:
        return []
    at = datetime.now(UTC)
    asked = {"suggestion_ids": [lot.suggestion_id for lot in near]}
    drawn_already = set(connection.execute(_DRAWN, asked).scalars())
    drawn = []
    for lot in near:
        probability = inclusion_probability(
            connection, stratum=lot.stratum, specialty=lot.specialty, settings=lot.settings, at=at
        )
        if lot.chance < probability and lot.suggestion_id not in drawn_already:
            drawn.append((new_id(), lot, probability))
    if drawn:
        connection.execute(_INSERT_DRAWS, [_draw_row(*one, at=at) for one in drawn])
        connection.execute(_INSERT_CASES, [_case_row(draw_id, lot, at=at) for draw_id, lot, _ in drawn])
    return [
        Entry(
            principal=lot.principal,
            action="audit-drawn",
            subject=f"audit-draw:{draw_id}",
            details={"suggestion_id": lot.suggestion_id, "stratum": lot.stratum, "probability": probability},
        )
        for draw_id, lot, probability in drawn
    ]


def draw_autonomous(
    connection: Connection,
    suggestion: Suggestion,
    request: SuggestionRequest,
    *,
    principal: Principal,
    settings: FeedbackSettings,
    random_source: Random = SECURE_SOURCE,
) -> None:
    """Perhaps draw a suggestion that no coder is going to see; others than autonomous ones are left alone.

    Args:
        connection: Inside ``ledger.group_commit.write``, after the suggestion was stored in the same transaction.
        suggestion: What was suggested.
        request: What was asked.
        principal: Who asked.
        settings: The shares, and the place in the queue.
        random_source: Where chance comes from.
    """
    if suggestion.route.decision is not RouteDecision.AUTONOMOUS:
        return
    lot = Lot(
        suggestion.suggestion_id,
        "autonomous",
        specialty=request.encounter.specialty,
        principal=principal,
        coder_id=None,
        settings=settings,
        chance=random_source.random(),
    )
    if entries := draw(connection, [lot]):
        append_all(connection, entries)


def name_coder(connection: Connection, suggestion_id: str, *, coder: Principal) -> None:
    """Note who decided an autonomous suggestion after all: where it was drawn, nobody judges an own decision."""
    of_draw = (cases.c.suggestion_id == suggestion_id, cases.c.kind == "audit", cases.c.state == "open")
    connection.execute(update(cases).where(*of_draw, cases.c.coder_id.is_(None)).values(coder_id=coder.id))
    # Whoever held the case may not judge it any more, and cannot give it back.
    connection.execute(
        update(cases).where(*of_draw, cases.c.claimed_by == coder.id).values(claimed_by=None, claimed_until=None)
    )


def _draw_row(draw_id: str, lot: Lot, probability: float, *, at: datetime) -> dict[str, object]:
    return {
        "id": draw_id,
        "suggestion_id": lot.suggestion_id,
        "stratum": lot.stratum,
        "probability": probability,
        "drawn_at": at,
    }


def _case_row(draw_id: str, lot: Lot, *, at: datetime) -> dict[str, object]:
    return {
        "id": draw_id,
        "kind": "audit",
        "suggestion_id": lot.suggestion_id,
        "coder_id": lot.coder_id,
        "priority": lot.settings.audit_priority,
        "opened_at": at,
        "state": "open",
    }
