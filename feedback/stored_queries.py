"""Physician queries as they are kept, read back, and who may see which (stage 8).

On the manual route people code without help of the model, and queries are help: they are withheld like the
codes, and supervisors and administrators see them once the encounter is decided.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, and_, exists, or_, select, tuple_

from clinical_coding.physician_queries import PhysicianQuery
from clinical_coding.suggestions import RouteDecision, Suggestion, SuggestionRequest
from feedback.errors import ForbiddenError, InvalidError, NotFoundError
from feedback.query_life import (
    AskedQuestion,
    CloseReason,
    PurgedError,
    QueryEvent,
    QueryLife,
    QueryPage,
    QueryState,
    QueryView,
)
from feedback.query_tables import physician_queries, query_events
from feedback.tables import decisions
from ledger.principals import Principal, Role
from ledger.suggestions import load, suggestions

__all__ = [
    "MAX_PAGE",
    "MAY_READ",
    "StoredQuery",
    "content_of",
    "list_queries",
    "load_content",
    "load_life",
    "load_query",
    "newest",
    "rerun_owner",
    "show_query",
]

MAX_PAGE: Final = 200
MAY_READ: Final = (Role.CODER, Role.SUPERVISOR, Role.SERVICE, Role.ADMIN)
_SEE_WITHHELD: Final = (Role.SUPERVISOR, Role.ADMIN)
_PATH: Final = (QueryState.SENT, QueryState.ANSWERED, QueryState.CLOSED)


@dataclass(frozen=True, slots=True)
class StoredQuery:
    """A query's row and its life."""

    principal_id: str
    """Whose it is."""
    content_sha256: str
    life: QueryLife


def list_queries(
    engine: Engine,
    *,
    principal: Principal,
    state: QueryState | None = None,
    suggestion_id: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> QueryPage:
    """List queries, the one that was drafted first at the top.

    Args:
        engine: A migrated database.
        principal: Who looks: a coder sees those of own suggestions, other roles all.
        state: In this state alone.
        suggestion_id: Of this suggestion alone.
        after: ``next_after`` of the page before.
        limit: How many at most.

    Raises:
        ForbiddenError: The role may not see queries.
        InvalidError: The limit is out of range.
        NotFoundError: ``after`` names no query.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidError(f"limit {limit} is out of range; ask for 1 to {MAX_PAGE} queries")
    statement = _seen_by(principal).order_by(physician_queries.c.drafted_at, physician_queries.c.id)
    if state is not None:
        statement = statement.where(_is_in(state))
    if suggestion_id is not None:
        statement = statement.where(physician_queries.c.suggestion_id == _storable(suggestion_id))
    with engine.connect() as connection:
        if after is not None:
            statement = statement.where(_comes_after(load_query(connection, after, principal=principal).life))
        rows = connection.execute(statement.limit(limit + 1)).all()
        found = _stored(connection, rows[:limit])
    lives = tuple(one.life for one in found)
    return QueryPage(queries=lives, next_after=lives[-1].query_id if len(rows) > limit else None)


def show_query(engine: Engine, query_id: str, *, principal: Principal) -> QueryView:
    """Show a query with its words.

    Raises:
        ForbiddenError: The role may not see queries.
        NotFoundError: There is none for this principal.
        PurgedError: Its words were purged.
    """
    with engine.connect() as connection:
        life = load_query(connection, query_id, principal=principal).life
        _, query = load_content(connection, life)
    return QueryView(**dict(life), physician_view=AskedQuestion.of(query), codes=query.codes, source=query.source)


def load_query(connection: Connection, query_id: str, *, principal: Principal) -> StoredQuery:
    """Find a query.

    Raises:
        ForbiddenError: The role may not see queries.
        NotFoundError: There is none for this principal; somebody else's is answered like none at all.
    """
    statement = _seen_by(principal).where(physician_queries.c.id == _storable(query_id))
    row = connection.execute(statement).one_or_none()
    if row is None:
        mine = " of yours" if principal.role is Role.CODER else ""
        raise NotFoundError(f"no query{mine} is stored under this id; send the query_id of a suggestion's query")
    [stored] = _stored(connection, [row])
    return stored


def load_life(connection: Connection, query_id: str) -> QueryLife:
    """Read the life of a query that is there, whoever asks."""
    row = connection.execute(_ROWS.where(physician_queries.c.id == query_id)).one()
    [stored] = _stored(connection, [row])
    return stored.life


def load_content(connection: Connection, life: QueryLife) -> tuple[SuggestionRequest, PhysicianQuery]:
    """Read the words of a query, and the request whose notes it is about.

    Raises:
        PurgedError: They were purged.
    """
    request, suggestion = content_of(connection, life.suggestion_id)
    [query] = [query for query in suggestion.queries if query.query_id == life.query_id]
    return request, query


def content_of(connection: Connection, suggestion_id: str) -> tuple[SuggestionRequest, Suggestion]:
    """Read a stored suggestion and its request.

    Raises:
        PurgedError: They were purged.
    """
    stored = load(connection, suggestion_id)
    if stored.request is None or stored.suggestion is None:
        raise PurgedError("the words of this query were purged with its suggestion; its hash and its life are kept")
    return stored.request, stored.suggestion


def newest(connection: Connection, suggestion_id: str) -> str:
    """The suggestion at the end of the line of those that answers led to; the given one when it leads to none."""
    following: str | None = suggestion_id
    while following is not None:
        suggestion_id = following
        following = connection.scalar(
            select(query_events.c.new_suggestion_id).where(query_events.c.supersedes_id == suggestion_id)
        )
    return suggestion_id


def rerun_owner(connection: Connection, suggestion_id: str) -> str | None:
    """Whose queries led to a suggestion: that principal may read it, whoever entered the answer.

    Returns:
        The principal's id; None when the suggestion was asked for, and is no answer's consequence.
    """
    return connection.scalar(
        select(physician_queries.c.principal_id)
        .join(query_events, query_events.c.query_id == physician_queries.c.id)
        .where(query_events.c.new_suggestion_id == suggestion_id)
    )


_ROWS: Final = select(physician_queries, suggestions.c.record_id).join(
    suggestions, suggestions.c.id == physician_queries.c.suggestion_id
)


def _seen_by(principal: Principal) -> Select[Any]:
    if principal.role not in MAY_READ:
        raise ForbiddenError(f"role {principal.role} may not see queries; use a key of role {', '.join(MAY_READ)}")
    is_seen: ColumnElement[bool] = suggestions.c.route != RouteDecision.MANUAL.value
    if principal.role in _SEE_WITHHELD:
        is_seen = or_(
            is_seen, exists().where(decisions.c.suggestion_id == suggestions.c.id, decisions.c.outcome == "decided")
        )
    if principal.role is Role.CODER:
        is_seen = and_(is_seen, physician_queries.c.principal_id == principal.id)
    return _ROWS.where(is_seen)


def _is_in(state: QueryState) -> ColumnElement[bool]:
    """The state is that of the last event; without events it is drafted."""
    later = _PATH[_PATH.index(state) + 1 :] if state in _PATH else _PATH
    is_past = exists().where(query_events.c.query_id == physician_queries.c.id, query_events.c.state.in_(later))
    if state is QueryState.DRAFTED:
        return ~is_past
    has_come = exists().where(query_events.c.query_id == physician_queries.c.id, query_events.c.state == state.value)
    return and_(has_come, ~is_past) if later else has_come


def _comes_after(life: QueryLife) -> ColumnElement[bool]:
    place = tuple_(physician_queries.c.drafted_at, physician_queries.c.id)
    return place > tuple_(life.drafted_at, life.query_id)


def _storable(identifier: str) -> str:
    # PostgreSQL refuses some characters, such as null, in any text; no id holds one.
    return identifier if identifier.isprintable() else ""


def _stored(connection: Connection, rows: Sequence[Row[Any]]) -> list[StoredQuery]:
    events = _events(connection, [row.id for row in rows])
    return [StoredQuery(row.principal_id, row.content_sha256, _life(row, events.get(row.id, ()))) for row in rows]


def _events(connection: Connection, query_ids: Iterable[str]) -> Mapping[str, tuple[QueryEvent, ...]]:
    rows = connection.execute(select(query_events).where(query_events.c.query_id.in_(list(query_ids)))).all()
    found: dict[str, tuple[QueryEvent, ...]] = {}
    for row in sorted(rows, key=lambda row: _PATH.index(QueryState(row.state))):
        found[row.query_id] = (*found.get(row.query_id, ()), _event(row))
    return found


def _event(row: Row[Any]) -> QueryEvent:
    return QueryEvent(
        state=QueryState(row.state),
        at=row.at,
        principal_id=row.principal_id,
        option=row.option,
        documentation_amended=row.documentation_amended,
        new_suggestion_id=row.new_suggestion_id,
        supersedes=row.supersedes_id,
        reason=None if row.reason is None else CloseReason(row.reason),
    )


def _life(row: Row[Any], events: tuple[QueryEvent, ...]) -> QueryLife:
    return QueryLife(
        query_id=row.id,
        suggestion_id=row.suggestion_id,
        record_id=row.record_id,
        topic=row.topic,
        state=events[-1].state if events else QueryState.DRAFTED,
        drafted_at=row.drafted_at,
        events=events,
        new_suggestion_id=next((event.new_suggestion_id for event in events if event.new_suggestion_id), None),
    )
