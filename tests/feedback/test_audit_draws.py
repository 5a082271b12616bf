import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from random import Random, SystemRandom

import pytest
from scipy.stats import binomtest
from sqlalchemy import Engine, insert, select, update

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.audit_draws import SECURE_SOURCE, draw_autonomous, inclusion_probability
from feedback.decisions import RecordedDecision
from feedback.settings import FeedbackSettings
from feedback.tables import audit_draws, cases
from ledger.audit_log import audit_log
from ledger.group_commit import write
from ledger.principals import Principal
from ledger.suggestions import suggestions

Decide = Callable[..., RecordedDecision]
Suggest = Callable[..., Suggestion]


def age(engine: Engine, suggestion: Suggestion, *, days: float) -> None:
    """Let the service line of a suggestion have begun some days ago."""
    with engine.connect() as connection:
        row = connection.execute(select(suggestions).where(suggestions.c.id == suggestion.suggestion_id)).one()
    first = dict(row._mapping) | {"id": "first", "stored_at": datetime.now(UTC) - timedelta(days=days)}
    write(engine, lambda connection: connection.execute(insert(suggestions).values(first)))


def drawn_of(engine: Engine) -> list[tuple[str, str, float]]:
    with engine.connect() as connection:
        rows = connection.execute(select(audit_draws).order_by(audit_draws.c.id)).all()
    return [(row.suggestion_id, row.stratum, row.probability) for row in rows]


def test_an_accepted_suggestion_is_drawn_into_the_queue(
    engine: Engine, suggestion: Suggestion, decide: Decide, people: Mapping[str, Principal], drawn: FeedbackSettings
) -> None:
    decide(suggestion.suggestion_id, settings=drawn)
    assert drawn_of(engine) == [(suggestion.suggestion_id, "accepted", 1.0)]
    with engine.connect() as connection:
        case = connection.execute(select(cases)).one()
        draw = connection.execute(select(audit_draws)).one()
        entry = connection.execute(select(audit_log).order_by(audit_log.c.seq.desc())).first()
    assert (case.id, case.kind, case.coder_id, case.priority) == (
        draw.id,
        "audit",
        people["coder"].id,
        drawn.audit_priority,
    )
    assert entry is not None
    assert (entry.action, entry.subject) == ("audit-drawn", f"audit-draw:{draw.id}")
    assert json.loads(entry.entry)["details"] == {
        "suggestion_id": suggestion.suggestion_id,
        "stratum": "accepted",
        "probability": 1.0,
    }


def test_only_what_was_shown_decided_and_left_whole_counts_as_accepted(
    engine: Engine, suggest: Suggest, decide: Decide, drawn: FeedbackSettings
) -> None:
    decide(suggest().suggestion_id, ("reject", "icd10cm:I10", "not-documented"), settings=drawn)
    decide(suggest().suggestion_id, outcome="deferred", settings=drawn)
    decide(suggest().suggestion_id, outcome="escalated", settings=drawn)
    decide(suggest(route="manual").suggestion_id, settings=drawn)
    decide(suggest(route="autonomous").suggestion_id, settings=drawn)
    assert drawn_of(engine) == []


def test_an_autonomous_suggestion_is_drawn_at_most_once_and_never_judged_by_who_decides_it_later(
    engine: Engine,
    suggest: Suggest,
    decide: Decide,
    people: Mapping[str, Principal],
    drawn: FeedbackSettings,
    sample_request: SuggestionRequest,
) -> None:
    autonomous, assisted = suggest(route="autonomous"), suggest()
    for suggestion in (autonomous, autonomous, assisted):
        write(
            engine,
            lambda connection, made=suggestion: draw_autonomous(
                connection, made, sample_request, principal=people["service"], settings=drawn
            ),
        )
    assert drawn_of(engine) == [(autonomous.suggestion_id, "autonomous", 1.0)]
    with engine.connect() as connection:
        assert connection.execute(select(cases.c.coder_id)).scalar_one() is None
    decide(autonomous.suggestion_id, who="supervisor", settings=drawn)
    assert len(drawn_of(engine)) == 1
    with engine.connect() as connection:
        assert connection.execute(select(cases.c.coder_id)).scalar_one() == people["supervisor"].id


@pytest.mark.parametrize(
    ("days", "stratum", "share"),
    [
        (0, "accepted", "first_year_accepted_share"),
        (364, "accepted", "first_year_accepted_share"),
        (366, "accepted", "accepted_share"),
        (364, "autonomous", "first_year_autonomous_share"),
        (366, "autonomous", "autonomous_share"),
    ],
)
def test_a_young_service_line_is_watched_more(
    engine: Engine, suggestion: Suggestion, feedback_settings: FeedbackSettings, days: int, stratum: str, share: str
) -> None:
    age(engine, suggestion, days=days)
    at = datetime.now(UTC)
    with engine.connect() as connection:
        [specialty] = connection.execute(select(suggestions.c.specialty).distinct()).scalars()
        probability, unseen = (
            inclusion_probability(
                connection,
                stratum=stratum,
                specialty=name,
                settings=feedback_settings,
                at=at,
            )
            for name in (specialty, "never seen")
        )
    assert probability == getattr(feedback_settings, share)
    assert unseen == getattr(feedback_settings, f"first_year_{stratum}_share")


@pytest.mark.parametrize(("days", "share"), [(0, 0.3), (400, 0.1)])
def test_the_share_drawn_is_the_probability_stored(
    engine: Engine,
    suggest: Suggest,
    people: Mapping[str, Principal],
    undrawn: FeedbackSettings,
    sample_request: SuggestionRequest,
    days: int,
    share: float,
) -> None:
    settings = undrawn.model_copy(update={"autonomous_share": 0.1, "first_year_autonomous_share": 0.3})
    made = [suggest(route="autonomous") for _ in range(300)]
    age(engine, made[0], days=days)
    source = Random(8)

    def draw_all(connection: object) -> None:
        for suggestion in made:
            draw_autonomous(
                connection,
                suggestion,
                sample_request,
                principal=people["service"],
                settings=settings,
                random_source=source,
            )

    write(engine, draw_all)
    found = drawn_of(engine)
    assert {probability for _, _, probability in found} == {share}
    # The generator is fixed, so that the interval, which chance alone leaves once in a thousand, decides for good.
    interval = binomtest(len(found), len(made)).proportion_ci(confidence_level=0.999)
    assert interval.low <= share <= interval.high
    # Either share would be told from the other.
    assert not interval.low <= 0.4 - share <= interval.high


def test_nothing_tells_a_coder_what_was_drawn() -> None:
    names = {field.name for field in fields(RecordedDecision)}
    assert names == {"decision_id", "decided_at", "overrides", "is_repeated"}
    assert isinstance(SECURE_SOURCE, SystemRandom)


def test_a_draw_is_never_changed(
    engine: Engine, suggestion: Suggestion, decide: Decide, drawn: FeedbackSettings
) -> None:
    decide(suggestion.suggestion_id, settings=drawn)
    with pytest.raises(Exception, match="append-only"):
        write(engine, lambda connection: connection.execute(update(audit_draws).values(probability=0.5)))
