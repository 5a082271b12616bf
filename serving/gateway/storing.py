"""Keeps every suggestion before it is answered, and reads it back (the end of stage 7).

Nothing is acknowledged that is not durable. What comes back is what the asker was answered, but for
one case: on the manual route the codes are withheld from whoever codes, since people code without
them there, and from programs, which show them to such people. Supervisors and administrators see
them once the encounter is decided; before, they might tell the coder, or be the coder.
"""

from collections.abc import Callable
from typing import Final

from anyio.to_thread import run_sync
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError

from clinical_coding.suggestions import RouteDecision, Suggestion, SuggestionRequest
from feedback.keeping import keep_suggestion
from feedback.settings import FeedbackSettings
from feedback.stored_decisions import decision_of
from feedback.stored_queries import rerun_owner
from ledger.group_commit import write
from ledger.principals import Principal, Role
from ledger.suggestions import StoredSuggestion, load
from serving.gateway.building import as_answered
from serving.gateway.problems import ProblemError

__all__ = ["SuggestionStore"]

_SEE_WITHHELD: Final = (Role.SUPERVISOR, Role.ADMIN)


class SuggestionStore:
    """Suggestions in the ledger, for the gateway."""

    def __init__(self, engine: Engine, *, settings: FeedbackSettings) -> None:
        """Name the database.

        Args:
            engine: A migrated database.
            settings: The share of autonomous suggestions that is drawn for audit.
        """
        self._engine = engine
        self._settings = settings

    async def keep(
        self,
        request: SuggestionRequest,
        suggestion: Suggestion,
        *,
        principal: Principal,
        also: Callable[[Connection], None] | None = None,
    ) -> None:
        """Store a suggestion with all its codes; durable on return.

        Args:
            request: What was asked.
            suggestion: The whole suggestion.
            principal: Who asked.
            also: What is written with it, or not at all; what it raises undoes both.

        Raises:
            ProblemError: A field holds what the database cannot.
            SQLAlchemyError: The database does not answer; nothing is stored then.
        """

        def work(connection: Connection) -> None:
            keep_suggestion(connection, request, suggestion, principal=principal, settings=self._settings)
            if also is not None:
                also(connection)

        try:
            await run_sync(write, self._engine, work)
        except DataError:
            # PostgreSQL takes no null character in a text; notes are stored as JSON, which escapes it.
            detail = "record_id, patient_id, specialty or payer holds a character that cannot be stored, such as null"
            raise ProblemError("invalid-request", detail) from None

    def read(self, suggestion_id: str, *, principal: Principal) -> Suggestion:
        """Read a suggestion as it was answered; blocks.

        Args:
            suggestion_id: Of an answer.
            principal: Who reads: a coder what that coder asked for, other roles anything.

        Raises:
            ProblemError: There is none for this principal, or its content was purged.
        """
        with self._engine.connect() as connection:
            stored = self._find(connection, suggestion_id, principal=principal)
            if stored.suggestion is None:
                raise ProblemError("purged", "the content of this suggestion was purged; its hash is kept")
            is_shown_whole = stored.suggestion.route.decision is not RouteDecision.MANUAL or (
                principal.role in _SEE_WITHHELD and decision_of(connection, suggestion_id) is not None
            )
        return stored.suggestion if is_shown_whole else as_answered(stored.suggestion)

    def _find(self, connection: Connection, suggestion_id: str, *, principal: Principal) -> StoredSuggestion:
        try:
            # PostgreSQL refuses some characters in any text; no id holds one.
            stored = load(connection, suggestion_id) if suggestion_id.isprintable() else None
        except LookupError:
            stored = None
        # Somebody else's is answered like none at all: a coder learns nothing by asking.
        if stored is None or (principal.role is Role.CODER and not _is_own(connection, stored, principal=principal)):
            mine = " of yours" if principal.role is Role.CODER else ""
            raise ProblemError("unknown-id", f"no suggestion{mine} is stored under this id")
        return stored


def _is_own(connection: Connection, stored: StoredSuggestion, *, principal: Principal) -> bool:
    """Whether a coder asked for a suggestion, or for the one that a physician's answer made anew."""
    return principal.id in (stored.principal_id, rerun_owner(connection, stored.suggestion_id))
