from typing import Any

import pytest
from pydantic import ValidationError

from clinical_coding.decisions import CodeDecision, Decision
from clinical_coding.predictions import Prediction
from clinical_coding.suggestions import SuggestionRequest

CODE = {"system": "icd10cm", "code": "I21.4"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": "modify", "reason": "more-specific"}, "to must be given"),
        ({"action": "accept", "to": "I10"}, "to must be given"),
        ({"action": "reject"}, "reason must be given for action 'reject'"),
        ({"action": "add"}, "reason must be given for action 'add'"),
        ({"action": "add", "reason": "Because of the note"}, "should match pattern"),
        ({"action": "reject", "reason": "not-documented", "code": "chest pain"}, "'CHE.ST P' is not a code of icd10cm"),
        ({"action": "modify", "reason": "wrong-site", "to": "99213"}, "'992.13' is not a code of icd10cm"),
        ({"action": "accept", "system": "icd9"}, "system"),
    ],
)
def test_an_incomplete_action_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CodeDecision.model_validate(CODE | changes)


def test_codes_are_put_into_their_usual_form() -> None:
    fields = {"action": "modify", "system": "icd10cm", "code": "e119", "to": "e11.65 ", "reason": "wrong-complication"}
    decided = CodeDecision.model_validate(fields)
    assert (decided.key, decided.to_key) == ("icd10cm:E11.9", "icd10cm:E11.65")


@pytest.mark.parametrize("outcome", ["escalated", "deferred"])
def test_codes_are_decided_only_when_the_outcome_says_so(outcome: str) -> None:
    fields = {"suggestion_id": "s1", "outcome": outcome, "seconds_spent": 3}
    assert Decision.model_validate(fields).codes == ()
    with pytest.raises(ValidationError, match="codes must be empty"):
        Decision.model_validate(fields | {"codes": [CODE | {"action": "accept"}]})


def scored(code: str, confidence: float) -> dict[str, Any]:
    return {"system": "icd10cm", "code": code, "confidence": confidence, "suggested": False}


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([scored("I10", 0.2), scored("E11.9", 0.3)], "ranked by falling confidence"),
        ([scored("I10", 0.3), scored("I10", 0.3)], "must not repeat"),
        ([scored("I10", 1.1)], "less than or equal to 1"),
        ([scored(f"I{number:02d}.{digit}", 0.5) for number in range(51) for digit in (0, 1)], "at most 100"),
    ],
)
def test_bad_predictions_are_refused(codes: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Prediction.model_validate({"record_id": "r1", "version": "1", "codes": codes})


def test_a_request_has_distinct_notes() -> None:
    note = {"note_id": "n1", "text": "Chest pain."}
    fields = {"record_id": "r1", "encounter": {"setting": "emergency", "specialty": "cardiology"}}
    assert len(SuggestionRequest.model_validate(fields | {"notes": [note]}).notes) == 1
    with pytest.raises(ValidationError, match="distinct note_id"):
        SuggestionRequest.model_validate(fields | {"notes": [note, note]})
