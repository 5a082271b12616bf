"""A suggestion is kept with all that hangs on it: the audit draw, and its physician queries (stage 8).

Suggestions that a client asked for, and those that the answer to a query leads to, are kept alike. It does
not know how they were made.
"""

from sqlalchemy import Connection

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.audit_draws import draw_autonomous
from feedback.queries import draft_queries
from feedback.settings import FeedbackSettings
from ledger.principals import Principal
from ledger.suggestions import store

__all__ = ["keep_suggestion"]


def keep_suggestion(
    connection: Connection,
    request: SuggestionRequest,
    suggestion: Suggestion,
    *,
    principal: Principal,
    settings: FeedbackSettings,
    owner_id: str | None = None,
) -> None:
    """Store a suggestion, perhaps draw it for audit, and draft its queries.

    Args:
        connection: Inside ``ledger.group_commit.write``.
        request: What was asked.
        suggestion: The whole suggestion, codes and queries included on every route.
        principal: Who asked.
        settings: The share of autonomous suggestions that is drawn for audit.
        owner_id: Whose queries they are; the principal's when None.
    """
    store(connection, request, suggestion, principal=principal)
    draw_autonomous(connection, suggestion, request, principal=principal, settings=settings)
    draft_queries(connection, suggestion, principal=principal, owner_id=owner_id)
