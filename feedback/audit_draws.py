"""The random audit: a share of what nobody disputed is drawn into the supervisors' queue.

Overrides show only the errors that coders saw. What coders accepted, and what no coder looked at,
is sampled: each suggestion with a known probability, which is stored, so that error rates can be
estimated without bias by weighting each drawn one with its inverse (Horvitz and Thompson 1952,
doi:10.1080/01621459.1952.10483446). The draw is unforeseeable, and no answer to a coder tells it;
who knows what is looked at would take care there only.

Two strata: ``accepted``, suggestions on the assisted route that a coder let stand whole; and
``autonomous``. Suggestions that a coder overrode in part are in neither: they are in the queue already.
"""

from datetime import UTC, datetime, timedelta
from random import Random, SystemRandom
from typing import Final, Literal

from sqlalchemy import Connection, func, insert, select, update

from clinical_coding.artefact import new_id
from clinical_coding.suggestions import RouteDecision, Suggestion, SuggestionRequest
from feedback.settings import FeedbackSettings
from feedback.tables import audit_draws, cases
from ledger.audit_log import append
from ledger.principals import Principal
from ledger.suggestions import suggestions

__all__ = ["SECURE_SOURCE", "draw_accepted", "draw_autonomous", "inclusion_probability", "name_coder"]

Stratum = Literal["accepted", "autonomous"]
# The operating system's generator: past draws do not tell the next.
SECURE_SOURCE: Final[Random] = SystemRandom()


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
    first = connection.execute(
        select(func.min(suggestions.c.stored_at)).where(suggestions.c.specialty == specialty)
    ).scalar_one()
    is_young = first is None or at - first < timedelta(days=settings.first_year_days)
    if stratum == "accepted":
        return settings.first_year_accepted_share if is_young else settings.accepted_share
    return settings.first_year_autonomous_share if is_young else settings.autonomous_share


def draw_accepted(
    connection: Connection,
    suggestion_id: str,
    *,
    specialty: str,
    coder: Principal,
    settings: FeedbackSettings,
    random_source: Random = SECURE_SOURCE,
) -> None:
    """Perhaps draw a suggestion that a coder let stand whole.

    Args:
        connection: Inside ``ledger.group_commit.write``, in the transaction that stores the decision.
        suggestion_id: Of a suggestion on the assisted route.
        specialty: Its specialty.
        coder: Who decided, and so may not judge the case.
        settings: The shares, and the place in the queue.
        random_source: Where chance comes from.
    """
    _draw(
        connection,
        suggestion_id,
        stratum="accepted",
        specialty=specialty,
        principal=coder,
        coder_id=coder.id,
        settings=settings,
        random_source=random_source,
    )


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
    _draw(
        connection,
        suggestion.suggestion_id,
        stratum="autonomous",
        specialty=request.encounter.specialty,
        principal=principal,
        coder_id=None,
        settings=settings,
        random_source=random_source,
    )


def name_coder(connection: Connection, suggestion_id: str, *, coder: Principal) -> None:
    """Note who decided an autonomous suggestion after all: where it was drawn, nobody judges an own decision."""
    connection.execute(
        update(cases)
        .where(cases.c.suggestion_id == suggestion_id, cases.c.kind == "audit", cases.c.coder_id.is_(None))
        .values(coder_id=coder.id)
    )


def _draw(
    connection: Connection,
    suggestion_id: str,
    *,
    stratum: Stratum,
    specialty: str,
    principal: Principal,
    coder_id: str | None,
    settings: FeedbackSettings,
    random_source: Random,
) -> None:
    at = datetime.now(UTC)
    chance = random_source.random()
    # Most are not drawn whatever the age of the service line, and cost no look at the database.
    if chance >= getattr(settings, f"first_year_{stratum}_share"):
        return
    probability = inclusion_probability(connection, stratum=stratum, specialty=specialty, settings=settings, at=at)
    is_drawn_already = select(audit_draws.c.id).where(audit_draws.c.suggestion_id == suggestion_id)
    if chance >= probability or connection.execute(is_drawn_already).first() is not None:
        return
    draw_id = new_id()
    connection.execute(
        insert(audit_draws).values(
            id=draw_id, suggestion_id=suggestion_id, stratum=stratum, probability=probability, drawn_at=at
        )
    )
    connection.execute(
        insert(cases).values(
            id=draw_id,
            kind="audit",
            suggestion_id=suggestion_id,
            coder_id=coder_id,
            priority=settings.audit_priority,
            opened_at=at,
            state="open",
        )
    )
    details = {"suggestion_id": suggestion_id, "stratum": stratum, "probability": probability}
    append(connection, principal=principal, action="audit-drawn", subject=f"audit-draw:{draw_id}", details=details)
