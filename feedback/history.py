"""What became of past suggestions, without a note or a code: for those who plan which work to automate.

The coder's decision is taken as right, but for overrides that a supervisor found wrong. Encounters that people
coded without seeing a suggestion are left out: there the model's codes were not judged one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, and_, case, func, or_, select

from clinical_coding.suggestions import RouteDecision
from feedback.tables import adjudications, decisions, overrides
from ledger.suggestions import suggestions

__all__ = ["PastDecision", "past_decisions"]


@dataclass(frozen=True, slots=True)
class PastDecision:
    """One decided suggestion."""

    setting: str
    specialty: str
    complexity: str | None
    seconds_spent: float
    num_wrong: int
    """Codes that were rejected or replaced."""
    num_missed: int
    """Codes that were added, or put in the place of another."""


def past_decisions(engine: Engine) -> Iterator[PastDecision]:
    """Read the decided suggestions of the assisted route, oldest first.

    Args:
        engine: A migrated database.
    """
    last_round = (
        select(adjudications.c.case_id, func.max(adjudications.c.round).label("round"))
        .group_by(adjudications.c.case_id)
        .subquery()
    )
    verdicts = (
        select(adjudications.c.case_id, adjudications.c.verdict)
        .join(
            last_round,
            and_(last_round.c.case_id == adjudications.c.case_id, last_round.c.round == adjudications.c.round),
        )
        .subquery()
    )
    # The case of an override bears its id.
    stands = or_(verdicts.c.verdict.is_(None), verdicts.c.verdict != "ai-right")
    wrong, missed = (
        func.coalesce(func.sum(case((and_(stands, overrides.c.action.in_(actions)), 1), else_=0)), 0)
        for actions in (("reject", "modify"), ("add", "modify"))
    )
    query = (
        select(
            suggestions.c.setting,
            suggestions.c.specialty,
            suggestions.c.complexity,
            decisions.c.seconds_spent,
            wrong.label("num_wrong"),
            missed.label("num_missed"),
        )
        .join(suggestions, suggestions.c.id == decisions.c.suggestion_id)
        .outerjoin(overrides, overrides.c.decision_id == decisions.c.id)
        .outerjoin(verdicts, verdicts.c.case_id == overrides.c.id)
        .where(decisions.c.outcome == "decided", suggestions.c.route != RouteDecision.MANUAL.value)
        .group_by(
            decisions.c.id,
            decisions.c.decided_at,
            decisions.c.seconds_spent,
            suggestions.c.setting,
            suggestions.c.specialty,
            suggestions.c.complexity,
        )
        .order_by(decisions.c.decided_at, decisions.c.id)
    )
    with engine.connect() as connection:
        for row in connection.execute(query):
            yield PastDecision(
                setting=row.setting,
                specialty=row.specialty,
                complexity=row.complexity,
                seconds_spent=row.seconds_spent,
                num_wrong=int(row.num_wrong),
                num_missed=int(row.num_missed),
            )
