from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, select

from clinical_coding.suggestions import Suggestion
from feedback.history import past_decisions
from feedback.tables import cases

REJECT = ("reject", "icd10cm:R07.9", "integral-symptom")
MODIFY = ("modify", "icd10cm:E11.9", "E11.65", "more-specific-code-documented")
ADD = ("add", "icd10cm:J45.909", "missed-documentation")


def test_overrides_tell_what_was_wrong_and_what_was_missed(
    engine: Engine, suggest: Callable[..., Suggestion], decide: Callable[..., Any]
) -> None:
    decide(suggest().suggestion_id)
    decide(suggest().suggestion_id, REJECT, MODIFY, ADD)
    # People who coded without a suggestion, and those who did not decide, say nothing of the model.
    decide(suggest(route="manual").suggestion_id, ADD)
    decide(suggest().suggestion_id, outcome="escalated")
    assert [(one.num_wrong, one.num_missed) for one in past_decisions(engine)] == [(0, 0), (2, 2)]
    assert {one.seconds_spent for one in past_decisions(engine)} != {0.0}


def test_an_override_that_a_supervisor_found_wrong_does_not_count(
    engine: Engine, suggest: Callable[..., Suggestion], decide: Callable[..., Any], judge: Callable[..., Any]
) -> None:
    decide(suggest().suggestion_id, REJECT, ADD)
    with engine.connect() as connection:
        found = connection.execute(select(cases.c.id).where(cases.c.kind == "override")).scalars().all()
    judge(found[0], "ai-right")
    [one] = past_decisions(engine)
    assert one.num_wrong + one.num_missed == 1
