from pathlib import Path

import pytest
import yaml

from clinical_coding.decisions import CodeAction
from feedback.errors import InvalidError
from feedback.settings import FeedbackSettings, ReasonCodes, load_feedback, load_reasons

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_committed_settings_watch_young_service_lines_more(feedback_settings: FeedbackSettings) -> None:
    assert 0 < feedback_settings.accepted_share < feedback_settings.first_year_accepted_share
    assert 0 < feedback_settings.autonomous_share < feedback_settings.first_year_autonomous_share
    assert feedback_settings.audit_priority < feedback_settings.override_priority


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accepted_share": 0.5}, "first_year_accepted_share 0.1 must not be less than accepted_share 0.5"),
        ({"first_year_autonomous_share": 0.01}, "first_year_autonomous_share 0.01 must not be less"),
        ({"autonomous_share": 1.5}, "autonomous_share"),
        ({"claim_minutes": 0}, "claim_minutes"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    values = yaml.safe_load((CONFIGS / "feedback.yaml").read_text()) | changes
    path = tmp_path / "feedback.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match=message):
        load_feedback(path)


def test_nothing_has_a_silent_default(tmp_path: Path) -> None:
    path = tmp_path / "feedback.yaml"
    path.write_text("")
    with pytest.raises(ValueError, match="accepted_share: Field required"):
        load_feedback(path)


@pytest.mark.parametrize(("text", "message"), [(None, "cannot be read"), ("a: [", "is not YAML")])
def test_a_file_that_is_none_is_told(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "reasons.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_reasons(path)


@pytest.mark.parametrize(
    ("reasons", "message"),
    [
        ({"no-need": {"text": "None.", "actions": ["accept"]}}, "must not hold 'accept'"),
        ({"Free text": {"text": "Any.", "actions": ["add"]}}, "should match pattern"),
        ({"missed": {"text": "Missed.", "actions": ["add"]}}, "must hold one for action 'modify'"),
        ({"missed": {"text": "Missed.", "actions": []}}, "at least 1 item"),
    ],
)
def test_wrong_reasons_are_refused(reasons: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "reasons.yaml"
    path.write_text(yaml.safe_dump({"reasons": reasons}))
    with pytest.raises(ValueError, match=message):
        load_reasons(path)


def test_a_reason_must_be_known_and_fit(reasons: ReasonCodes) -> None:
    reasons.require("wrong-laterality", action=CodeAction.MODIFY, field="codes.0.reason")
    reasons.require(None, action=CodeAction.ACCEPT, field="codes.0.reason")
    with pytest.raises(InvalidError, match=r"codes\.0\.reason 'tired' is not a reason code; choose one of .*excludes1"):
        reasons.require("tired", action=CodeAction.REJECT, field="codes.0.reason")
    with pytest.raises(InvalidError, match="does not fit action 'add'; choose one of missed-documentation") as caught:
        reasons.require("wrong-laterality", action=CodeAction.ADD, field="codes.0.reason")
    assert "wrong-site" not in str(caught.value)
    with pytest.raises(InvalidError, match="must be left out for action 'accept'"):
        reasons.require("not-documented", action=CodeAction.ACCEPT, field="codes.0.reason")
