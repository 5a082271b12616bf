"""Stored suggestions that hold physician queries, on SQLite and PostgreSQL."""

from collections.abc import Callable, Mapping

import pytest
from sqlalchemy import Engine

from clinical_coding.artefact import new_id
from clinical_coding.physician_queries import OTHER, UNABLE_TO_DETERMINE, PhysicianQuery
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.keeping import keep_suggestion
from feedback.queries import send_query
from feedback.query_answers import RecordedAnswer, answer_query, request_for_answer
from feedback.query_life import QueryAnswer
from feedback.settings import FeedbackSettings
from ledger.group_commit import write
from ledger.principals import Principal

TOPICS = ("heart-failure-type", "laterality")


def make_query(
    request: SuggestionRequest, topic: str = "heart-failure-type", *, form: str = "multiple-choice"
) -> PhysicianQuery:
    """A query that cites the first word of the first note; its words are unlike any of the product's."""
    note = request.notes[0]
    end = note.text.index(" ")
    options = {"multiple-choice": ("Systolic", "Diastolic", OTHER, UNABLE_TO_DETERMINE), "open-ended": ()}
    return PhysicianQuery.model_validate(
        {
            "query_id": new_id(),
            "topic": topic,
            "title": "Clarifytitle",
            "form": form,
            "question": "Canyouspecifyfurther?",
            "options": options[form],
            "indicators": [
                {"note_id": note.note_id, "start": 0, "end": end, "name": "first word", "text": note.text[:end]}
            ],
            "codes": ("icd10cm:I50.9",),
            "source": "Guideline I.B.2",
        }
    )


def make_suggestion(
    request: SuggestionRequest, *topics: str, route: str = "assisted", form: str = "multiple-choice"
) -> Suggestion:
    """A suggestion of I10 with a query on each topic."""
    code = {"system": "icd10cm", "code": "I10", "description": None, "confidence": 0.9, "rank": 1}
    return Suggestion.model_validate(
        {
            "suggestion_id": new_id(),
            "version": {"name": "clinical-coder", "number": 1, "alias": "champion", "bundle_sha256": "0" * 64},
            "route": {"decision": route, "rules": [], "record_confidence": 0.9},
            "degraded": False,
            "codes": [code | {"evidence": [], "alternatives": []}],
            "queries": [make_query(request, topic, form=form).model_dump() for topic in topics],
            "trace_id": "0" * 32,
        }
    )


@pytest.fixture(scope="session")
def suggest_on() -> Callable[..., Suggestion]:
    """Make a suggestion that is not stored: ``suggest_on(request, *topics, route="assisted", form=…)``."""
    return make_suggestion


@pytest.fixture
def ask(
    engine: Engine, people: Mapping[str, Principal], undrawn: FeedbackSettings, sample_request: SuggestionRequest
) -> Callable[..., Suggestion]:
    """Store a suggestion with queries: ``ask(*topics, who="coder", route="assisted", form="multiple-choice")``."""

    def make(*topics: str, who: str = "coder", route: str = "assisted", form: str = "multiple-choice") -> Suggestion:
        made = make_suggestion(sample_request, *(topics or TOPICS[:1]), route=route, form=form)
        write(
            engine,
            lambda connection: keep_suggestion(
                connection, sample_request, made, principal=people[who], settings=undrawn
            ),
        )
        return made

    return make


@pytest.fixture
def query_id(ask: Callable[..., Suggestion]) -> str:
    """A drafted query of the coder's."""
    return ask().queries[0].query_id


@pytest.fixture
def sent(engine: Engine, people: Mapping[str, Principal], query_id: str) -> str:
    """A query that the coder sent."""
    return send_query(engine, query_id, principal=people["coder"]).query_id


@pytest.fixture
def answer(engine: Engine, people: Mapping[str, Principal], undrawn: FeedbackSettings) -> Callable[..., RecordedAnswer]:
    """Answer a query, and make the suggestion anew where notes are given.

    ``answer(query_id, *topics, option=0, notes=[{…}], who="coder", key=None, settings=undrawn, route="assisted")``,
    the topics being those of the queries that the new suggestion holds.
    """

    def make(
        query_id: str,
        *topics: str,
        option: int | None = 0,
        notes: tuple[dict[str, str], ...] = (),
        who: str = "coder",
        key: str | None = None,
        settings: FeedbackSettings = undrawn,
        route: str = "assisted",
    ) -> RecordedAnswer:
        said = QueryAnswer.model_validate({"option": option, "documentation_amended": bool(notes), "notes": notes})
        by = {"idempotency_key": key or new_id(), "principal": people[who]}
        amended = request_for_answer(engine, query_id, said, **by)  # type: ignore[arg-type]
        rerun = None if amended is None else (amended, make_suggestion(amended.request, *topics, route=route))
        return answer_query(engine, query_id, said, **by, settings=settings, rerun=rerun)  # type: ignore[arg-type]

    return make
