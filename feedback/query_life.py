"""The life of a physician query: its states, what moves it on, and how it is told (stage 8).

A query is drafted with its suggestion, sent to the physician, answered, and closed; it never goes back.
Pure: it knows neither the database nor who may do what. What the physician sees names no code: a query
must not tell what an answer is worth (Guidelines for Achieving a Compliant Query Practice, AHIMA and
ACDIS, 2022 update).
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, model_validator

from clinical_coding.artefact import Artefact
from clinical_coding.physician_queries import PhysicianQuery, QueryForm, QueryIndicator
from clinical_coding.records import Note
from feedback.errors import ConflictError, FeedbackError, InvalidError

__all__ = [
    "AskedQuestion",
    "CloseReason",
    "Closing",
    "PurgedError",
    "QueryAnswer",
    "QueryEvent",
    "QueryLife",
    "QueryPage",
    "QueryState",
    "QueryView",
    "check_answer",
    "check_close",
    "check_step",
]

MAX_NOTES: Final = 100


class PurgedError(FeedbackError):
    """The words of the query were removed by a retention policy."""

    kind: ClassVar[str] = "purged"


class QueryState(StrEnum):
    """Where a query stands."""

    DRAFTED = "drafted"
    """Part of a stored suggestion; the physician knows nothing of it."""
    SENT = "sent"
    ANSWERED = "answered"
    CLOSED = "closed"


class CloseReason(StrEnum):
    """Why a query is closed."""

    WITHDRAWN = "withdrawn"
    """It need not be asked, or no more."""
    NO_ANSWER = "no-answer"
    """It was sent, and the physician did not answer."""
    RESOLVED = "resolved"
    """It was answered, and the answer was dealt with."""
    SUPERSEDED = "superseded"
    """Another query's answer led to a new suggestion before this one was sent; what is still open is asked there."""


# What each state may be followed by, and why a query may be closed in it.
_FOLLOWING: Final[Mapping[QueryState, tuple[QueryState, ...]]] = {
    QueryState.DRAFTED: (QueryState.SENT, QueryState.CLOSED),
    QueryState.SENT: (QueryState.ANSWERED, QueryState.CLOSED),
    QueryState.ANSWERED: (QueryState.CLOSED,),
    QueryState.CLOSED: (),
}
_CLOSING: Final[Mapping[QueryState, tuple[CloseReason, ...]]] = {
    QueryState.DRAFTED: (CloseReason.WITHDRAWN,),
    QueryState.SENT: (CloseReason.WITHDRAWN, CloseReason.NO_ANSWER),
    QueryState.ANSWERED: (CloseReason.RESOLVED,),
}


class QueryAnswer(Artefact):
    """The physician's answer, as a coder or a program enters it.

    What the physician wrote belongs to the record, so it comes as notes and nowhere else.
    """

    option: Annotated[int, Field(ge=0)] | None = None
    """Place of the chosen option in the query's ``options``, the first being 0; null for an open-ended query."""
    documentation_amended: bool
    """Whether the physician amended the documentation; true takes the notes, and makes a new suggestion."""
    notes: Annotated[tuple[Note, ...], Field(max_length=MAX_NOTES)] = ()
    """Amended and additional notes: one takes the place of the note of the same ``note_id``, others are added."""

    @model_validator(mode="after")
    def _notes_when_amended(self) -> Self:
        if self.documentation_amended != bool(self.notes):
            raise ValueError("notes must be given when documentation_amended is true, and only then")
        if len({note.note_id for note in self.notes}) != len(self.notes):
            raise ValueError("notes must have distinct note_id values")
        return self


class Closing(Artefact):
    """Why somebody closes a query."""

    reason: CloseReason


class QueryEvent(Artefact):
    """One step in the life of a query."""

    state: QueryState
    """The state that it reached."""
    at: datetime
    principal_id: str
    """Who moved it on."""
    option: int | None
    """The option that was chosen; of answers."""
    documentation_amended: bool | None
    """Of answers."""
    new_suggestion_id: str | None
    """The suggestion that was made anew; of answers that amended the documentation."""
    supersedes: str | None
    """The suggestion in whose place the new one stands; both are kept."""
    reason: CloseReason | None
    """Of closing."""


class QueryLife(Artefact):
    """A query and what became of it, without a clinical word."""

    query_id: str
    suggestion_id: str
    record_id: str
    topic: str
    """Name of the rule that drafted it."""
    state: QueryState
    drafted_at: datetime
    events: tuple[QueryEvent, ...]
    """What happened to it, in order."""
    new_suggestion_id: str | None
    """The suggestion that its answer led to."""


class AskedQuestion(Artefact):
    """What the physician sees of a query: no code, and no word of what an answer is worth."""

    title: str
    form: QueryForm
    question: str
    options: tuple[str, ...]
    indicators: tuple[QueryIndicator, ...]

    @classmethod
    def of(cls, query: PhysicianQuery) -> Self:
        """Leave out what is for coders."""
        return cls.model_validate(query.model_dump(include=set(cls.model_fields)))


class QueryView(QueryLife):
    """A query with its words."""

    physician_view: AskedQuestion
    """All that may be shown to the physician."""
    codes: tuple[str, ...]
    """Label keys that the answer bears on; for coders alone."""
    source: str
    """Guideline section or clinical definition that the question rests on."""


class QueryPage(Artefact):
    """Some queries, the one that waits longest first."""

    queries: tuple[QueryLife, ...]
    next_after: str | None
    """Ask for what comes after this query; null on the last page."""


def check_step(life: QueryLife, to: QueryState) -> None:
    """See to it that a query moves forward.

    Raises:
        ConflictError: It cannot reach this state from where it stands.
    """
    if to in _FOLLOWING[life.state]:
        return
    since = life.events[-1].at if life.events else life.drafted_at
    may = " or ".join(_FOLLOWING[life.state]) or "nothing, for closing is final"
    raise ConflictError(
        f"query {life.query_id} is {life.state} since {since:%Y-%m-%d %H:%M} UTC, so that it cannot be {to}; "
        f"what may follow is {may}"
    )


def check_close(life: QueryLife, reason: CloseReason) -> None:
    """See to it that a query is closed for a reason that fits its state.

    Raises:
        ConflictError: It is closed already, or the reason does not fit.
    """
    check_step(life, QueryState.CLOSED)
    fitting = _CLOSING[life.state]
    if reason not in fitting:
        raise ConflictError(
            f"query {life.query_id} is {life.state}, which reason {reason.value!r} does not fit; "
            f"close it with {' or '.join(fitting)}"
        )


def check_answer(answer: QueryAnswer, query: PhysicianQuery) -> None:
    """See to it that an answer fits the question.

    Raises:
        InvalidError: An option is missing, is none of the query's, or is given where there are none.
    """
    if query.form is QueryForm.OPEN_ENDED:
        if answer.option is not None:
            raise InvalidError("option must be left out: the query is open-ended, its answer comes as notes")
        return
    if answer.option is None:
        raise InvalidError(f"option is missing; give the place of one of the {len(query.options)} options, from 0")
    if answer.option >= len(query.options):
        raise InvalidError(
            f"option {answer.option} is none of the query's; expected 0 to {len(query.options) - 1}, in their order"
        )
