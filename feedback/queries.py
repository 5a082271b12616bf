"""Physician queries from draft to close, stored for good (stage 8).

Drafting happens with the suggestion that a query is part of; sending and closing are here, answering is
``feedback.query_answers``. It does not know HTTP, nor how a query reaches the physician.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, select

from clinical_coding.artefact import sha256_of_json
from clinical_coding.suggestions import Suggestion
from feedback.decisions import MAY_DECIDE
from feedback.errors import ForbiddenError
from feedback.query_life import CloseReason, QueryEvent, QueryLife, QueryState, check_close, check_step
from feedback.query_tables import physician_queries, query_events
from feedback.stored_queries import StoredQuery, list_queries, load_content, load_life, load_query, show_query
from ledger.audit_log import Entry, append, append_all
from ledger.group_commit import write
from ledger.principals import Principal

__all__ = [
    "add_event",
    "check_may_act",
    "close_query",
    "close_superseded",
    "draft_queries",
    "list_queries",
    "send_query",
    "show_query",
]

# Made once: making a statement costs as much as running it.
_INSERT_QUERIES: Final = insert(physician_queries)


def draft_queries(
    connection: Connection, suggestion: Suggestion, *, principal: Principal, owner_id: str | None = None
) -> None:
    """Note that a suggestion holds queries: each is drafted from now on.

    Args:
        connection: Inside ``ledger.group_commit.write``, after the suggestion was stored in the same transaction.
        suggestion: The whole suggestion, queries included on every route.
        principal: Who asked for it.
        owner_id: Whose queries they are; the principal's when None.
    """
    if not suggestion.queries:
        return
    at = datetime.now(UTC)
    rows = [
        {
            "id": query.query_id,
            "suggestion_id": suggestion.suggestion_id,
            "principal_id": owner_id or principal.id,
            "topic": query.topic,
            "content_sha256": sha256_of_json(query.model_dump(mode="json")),
            "drafted_at": at,
        }
        for query in suggestion.queries
    ]
    connection.execute(_INSERT_QUERIES, rows)
    append_all(
        connection,
        [
            Entry(
                principal=principal,
                action="query-drafted",
                subject=f"query:{row['id']}",
                details={name: row[name] for name in ("suggestion_id", "topic", "content_sha256")},
            )
            for row in rows
        ],
    )


def send_query(engine: Engine, query_id: str, *, principal: Principal) -> QueryLife:
    """Note that a query goes to the physician; the same principal may say so again, and it is written once.

    Args:
        engine: A migrated database.
        query_id: Of a drafted query.
        principal: Who sends it: a coder, a supervisor or a program.

    Raises:
        ForbiddenError: The role may not send queries.
        NotFoundError: There is none for this principal.
        ConflictError: It is past being sent, or somebody else sent it.
        PurgedError: Its words were purged.
    """
    check_may_act(principal)

    def work(connection: Connection) -> QueryLife:
        query = load_query(connection, query_id, principal=principal)
        if _did(query.life, QueryState.SENT, principal=principal) is not None:
            return query.life
        check_step(query.life, QueryState.SENT)
        load_content(connection, query.life)
        return add_event(connection, query, QueryState.SENT, principal=principal)

    return write(engine, work)


def close_query(engine: Engine, query_id: str, *, reason: CloseReason, principal: Principal) -> QueryLife:
    """Close a query for good; the same principal may say so again, and it is written once.

    Args:
        engine: A migrated database.
        query_id: Of a query that is not closed yet; it may be purged.
        reason: Withdrawn, no answer, or resolved; it must fit the state.
        principal: Who closes it: a coder, a supervisor or a program.

    Raises:
        ForbiddenError: The role may not close queries.
        NotFoundError: There is none for this principal.
        ConflictError: It is closed already, or the reason does not fit its state.
    """
    check_may_act(principal)

    def work(connection: Connection) -> QueryLife:
        query = load_query(connection, query_id, principal=principal)
        closed = _did(query.life, QueryState.CLOSED, principal=principal)
        if closed is not None and closed.reason is reason:
            return query.life
        check_close(query.life, reason)
        return add_event(connection, query, QueryState.CLOSED, principal=principal, columns={"reason": reason.value})

    return write(engine, work)


def close_superseded(connection: Connection, suggestion_id: str, *, principal: Principal) -> None:
    """Close the queries of a suggestion that were not sent, since another suggestion takes its place.

    Args:
        connection: Inside ``ledger.group_commit.write``.
        suggestion_id: The suggestion that is superseded.
        principal: Who brought the answer that superseded it.
    """
    rows = connection.execute(
        select(physician_queries.c.id, physician_queries.c.principal_id, physician_queries.c.content_sha256)
        .outerjoin(query_events, query_events.c.query_id == physician_queries.c.id)
        .where(physician_queries.c.suggestion_id == suggestion_id, query_events.c.query_id.is_(None))
        .order_by(physician_queries.c.id)
    ).all()
    for row in rows:
        query = StoredQuery(row.principal_id, row.content_sha256, load_life(connection, row.id))
        reason = {"reason": CloseReason.SUPERSEDED.value}
        add_event(connection, query, QueryState.CLOSED, principal=principal, columns=reason)


def check_may_act(principal: Principal) -> None:
    """See to it that only those who decide move queries on.

    Raises:
        ForbiddenError: The principal has another role.
    """
    if principal.role not in MAY_DECIDE:
        raise ForbiddenError(
            f"role {principal.role} may not send, answer or close queries; use a key of role {', '.join(MAY_DECIDE)}"
        )


def add_event(
    connection: Connection,
    query: StoredQuery,
    state: QueryState,
    *,
    principal: Principal,
    columns: Mapping[str, Any] | None = None,
) -> QueryLife:
    """Move a query on, in the table and in the audit log.

    Args:
        connection: Inside ``ledger.group_commit.write``.
        query: As it stands.
        state: That it reaches; the caller has checked that it may.
        principal: Who moves it on.
        columns: More columns of ``query_events``; ids, hashes and choices, which go to the audit log too.

    Returns:
        The query as it stands now.
    """
    life, columns = query.life, columns or {}
    connection.execute(
        insert(query_events).values(
            query_id=life.query_id, state=state.value, at=datetime.now(UTC), principal_id=principal.id, **columns
        )
    )
    append(
        connection,
        principal=principal,
        action=f"query-{state.value}",
        subject=f"query:{life.query_id}",
        details={
            "suggestion_id": life.suggestion_id,
            "topic": life.topic,
            "content_sha256": query.content_sha256,
            **{name: value for name, value in columns.items() if name != "idempotency_key"},
        },
    )
    return load_life(connection, life.query_id)


def _did(life: QueryLife, state: QueryState, *, principal: Principal) -> QueryEvent | None:
    """The event by which this principal brought the query to a state."""
    for event in life.events:
        if event.state is state and event.principal_id == principal.id:
            return event
    return None
