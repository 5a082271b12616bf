"""Answers to physician queries: the documentation is amended, and the suggestion made anew (stage 8).

Two steps, since scoring lies between them and is not known here: ``request_for_answer`` says what is to be
suggested on, ``answer_query`` stores the answer and the new suggestion in one transaction. The suggestion
that was asked about is kept as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select

from clinical_coding.artefact import sha256_of_json
from clinical_coding.records import Note, hash_notes
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.decisions import MAX_KEY_CHARACTERS
from feedback.errors import ConflictError, InvalidError
from feedback.keeping import keep_suggestion
from feedback.queries import add_event, check_may_act, close_superseded
from feedback.query_life import QueryAnswer, QueryLife, QueryState, check_answer, check_step
from feedback.query_tables import query_events
from feedback.settings import FeedbackSettings
from feedback.stored_queries import StoredQuery, content_of, load_content, load_life, load_query, newest
from ledger.group_commit import write
from ledger.principals import Principal

__all__ = [
    "AmendedRequest",
    "RecordedAnswer",
    "RerunOutdatedError",
    "answer_query",
    "request_for_answer",
]


class RerunOutdatedError(ConflictError):
    """Another answer amended the documentation meanwhile: ask for the request anew, and score it."""


@dataclass(frozen=True, slots=True)
class AmendedRequest:
    """What is to be suggested on, now that the documentation is amended."""

    request: SuggestionRequest
    supersedes: str
    """The suggestion on whose notes it builds: the newest of the encounter that answers led to."""


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """What became of an answer."""

    life: QueryLife
    is_repeated: bool
    """True when it was stored before, by the same principal under the same key."""


def request_for_answer(
    engine: Engine, query_id: str, answer: QueryAnswer, *, idempotency_key: str, principal: Principal
) -> AmendedRequest | None:
    """Say what is to be suggested on before an answer can be stored. Nothing is written.

    Args:
        engine: A migrated database.
        query_id: Of a query that was sent.
        answer: The physician's answer.
        idempotency_key: That the answer will be stored under.
        principal: Who enters it.

    Returns:
        The encounter with its amended notes; None when nothing is to be suggested, since the documentation
        stays as it was, or since this very answer is stored already.

    Raises:
        ForbiddenError: The role may not answer queries.
        NotFoundError: There is no such query for this principal.
        ConflictError: It does not wait for an answer, or the key was used for another one.
        InvalidError: The answer does not fit the question, or the key is malformed.
        PurgedError: The words of the query or the notes were purged.
    """
    check_may_act(principal)
    _check_key(idempotency_key)
    # One moment is seen: an answer that is stored meanwhile shows in all that is read here, or in nothing.
    options = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with engine.connect().execution_options(**options) as connection:
        if _said(connection, query_id, answer, key=idempotency_key, principal=principal):
            return None
        query = _answerable(connection, query_id, answer, principal=principal)
        if not answer.documentation_amended:
            return None
        supersedes = newest(connection, query.life.suggestion_id)
        request, _ = content_of(connection, supersedes)
    return AmendedRequest(_amend(request, answer.notes), supersedes)


def answer_query(
    engine: Engine,
    query_id: str,
    answer: QueryAnswer,
    *,
    idempotency_key: str,
    principal: Principal,
    settings: FeedbackSettings,
    rerun: tuple[AmendedRequest, Suggestion] | None = None,
) -> RecordedAnswer:
    """Store the answer to a query and the suggestion that follows from it; durable on return, whole or not at all.

    Queries of the superseded suggestion that were not sent yet are closed: where the gap is still there, the new
    suggestion asks again.

    Args:
        engine: A migrated database.
        query_id: Of a query that was sent.
        answer: The physician's answer.
        idempotency_key: 1 to 128 printable characters; the same answer again under the same key is answered
            as the first time, and stored once.
        principal: Who enters it.
        settings: The share of autonomous suggestions that is drawn for audit.
        rerun: What ``request_for_answer`` gave, and the whole suggestion on it; None when it gave None.

    Raises:
        ForbiddenError: The role may not answer queries.
        NotFoundError: There is no such query for this principal.
        RerunOutdatedError: Another answer amended the documentation meanwhile.
        ConflictError: The query does not wait for an answer, or the key was used for another one.
        InvalidError: The answer does not fit the question, or the key is malformed.
        PurgedError: The words of the query were purged.
    """
    check_may_act(principal)
    _check_key(idempotency_key)

    def work(connection: Connection) -> RecordedAnswer:
        if _said(connection, query_id, answer, key=idempotency_key, principal=principal):
            return RecordedAnswer(load_life(connection, query_id), is_repeated=True)
        query = _answerable(connection, query_id, answer, principal=principal)
        columns = {
            "option": answer.option,
            "documentation_amended": answer.documentation_amended,
            "notes_sha256": hash_notes(answer.notes) if answer.notes else None,
            "idempotency_key": idempotency_key,
            "body_sha256": _hash(query_id, answer),
        }
        if answer.documentation_amended:
            assert rerun is not None, "an answer that amends the documentation comes with its suggestion"
            columns |= _keep(connection, query, rerun, principal=principal, settings=settings)
        life = add_event(connection, query, QueryState.ANSWERED, principal=principal, columns=columns)
        return RecordedAnswer(life, is_repeated=False)

    return write(engine, work)


def _keep(
    connection: Connection,
    query: StoredQuery,
    rerun: tuple[AmendedRequest, Suggestion],
    *,
    principal: Principal,
    settings: FeedbackSettings,
) -> dict[str, str]:
    """Store the new suggestion in the old one's place, and give the columns that join both."""
    amended, suggestion = rerun
    if newest(connection, query.life.suggestion_id) != amended.supersedes:
        raise RerunOutdatedError(
            "the documentation was amended by another answer while this one was scored; send this one again"
        )
    keep_suggestion(
        connection,
        amended.request,
        suggestion,
        principal=principal,
        settings=settings,
        owner_id=query.principal_id,
    )
    close_superseded(connection, amended.supersedes, principal=principal)
    return {"supersedes_id": amended.supersedes, "new_suggestion_id": suggestion.suggestion_id}


def _answerable(connection: Connection, query_id: str, answer: QueryAnswer, *, principal: Principal) -> StoredQuery:
    """The query, which waits for an answer that this one can be."""
    query = load_query(connection, query_id, principal=principal)
    check_step(query.life, QueryState.ANSWERED)
    _, asked = load_content(connection, query.life)
    check_answer(answer, asked)
    return query


def _said(connection: Connection, query_id: str, answer: QueryAnswer, *, key: str, principal: Principal) -> bool:
    """Whether this very answer is stored already.

    Raises:
        ConflictError: Another one is, under the same key.
    """
    row = connection.execute(
        select(query_events.c.query_id, query_events.c.body_sha256).where(
            query_events.c.principal_id == principal.id, query_events.c.idempotency_key == key
        )
    ).one_or_none()
    if row is None:
        return False
    if row.body_sha256 != _hash(query_id, answer):
        raise ConflictError(
            f"the idempotency key was used for another answer (to query {row.query_id}); take a new key for a new one"
        )
    return True


def _amend(request: SuggestionRequest, notes: Sequence[Note]) -> SuggestionRequest:
    """Put amended notes in the place of those they amend, and the others behind them."""
    amended = {note.note_id: note for note in request.notes} | {note.note_id: note for note in notes}
    if hash_notes(amended.values()) == hash_notes(request.notes):
        raise InvalidError(
            "notes say what the documentation says already; send the amended text, or documentation_amended false"
        )
    return SuggestionRequest(
        record_id=request.record_id,
        patient_id=request.patient_id,
        encounter=request.encounter,
        notes=tuple(amended.values()),
    )


def _hash(query_id: str, answer: QueryAnswer) -> str:
    return sha256_of_json([query_id, answer.model_dump(mode="json")])


def _check_key(key: str) -> None:
    if not (1 <= len(key) <= MAX_KEY_CHARACTERS and key.isprintable()):
        raise InvalidError(
            f"idempotency key of {len(key)} characters is malformed; expected 1 to {MAX_KEY_CHARACTERS} "
            "printable characters, new for each answer"
        )
