"""``chartloop routing`` as a person gives it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from clinical_coding.predictions import PredictedCode, Prediction
from clinical_coding.readers import read_records
from scripts.routing import app

RECORDS = "sample:120?seed=3"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run_(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments], env={"CHARTLOOP_DATA_DIR": str(tmp_path / "data")})

    return run_


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Of a version that is sure, and right but for every third encounter, where it misses a code."""
    path = tmp_path / "predictions.jsonl"
    with path.open("w") as lines:
        for number, record in enumerate(read_records(RECORDS)):
            codes = [code for code in record.codes if code.key in record.keys()][number % 3 == 0 :]
            predicted = tuple(
                PredictedCode(
                    system=code.system, code=code.code, confidence=0.99, suggested=True, evidence=code.evidence
                )
                for code in codes
            )
            prediction = Prediction(record_id=record.record_id, version="1", codes=predicted)
            lines.write(prediction.model_dump_json() + "\n")
    return path


def test_simulate_tells_what_each_rule_moves_and_what_would_go_out_in_error(run: Run, predictions: Path) -> None:
    result = run("simulate", "--records", RECORDS, "--predictions", str(predictions), "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    [policy] = told["policies"]
    assert told["num_encounters"] == 120
    routes = {route: share["count"] for route, share in policy["routes"]}
    assert sum(routes.values()) == 120 and routes["autonomous"] > 10
    # Sample notes support their codes, so that what is wrong is what was left out; the review withholds some.
    assert 0.2 < policy["error"]["value"] < 0.6
    assert policy["error"]["low"] < policy["error"]["value"] < policy["error"]["high"]
    fired = {rule["name"]: rule["fired"]["count"] for rule in policy["rules"]}
    num_stays = sum(record.encounter.setting == "inpatient" for record in read_records(RECORDS))
    assert fired["inpatient-needs-coder"] == num_stays
    tables = run("simulate", "--records", RECORDS, "--predictions", str(predictions))
    assert "inpatient-needs-coder" in tables.output and "autonomous in error" in tables.output


def test_two_policies_are_compared(run: Run, predictions: Path, tmp_path: Path) -> None:
    other = tmp_path / "never.yaml"
    other.write_text("thresholds: [{autonomous_from: 1.0, assisted_from: 0.0, reason: a coder sees everything}]\n")
    result = run(
        *("simulate", "--records", RECORDS, "--predictions", str(predictions), "--against", str(other), "--json")
    )
    ours, theirs = json.loads(result.output)["policies"]
    assert (ours["name"], theirs["name"]) == ("routing", "never")
    assert dict(theirs["routes"])["autonomous"]["count"] == 0 < dict(ours["routes"])["autonomous"]["count"]


def test_predictions_of_other_records_are_refused(run: Run, predictions: Path) -> None:
    result = run("simulate", "--records", "sample:120?seed=4", "--predictions", str(predictions))
    assert isinstance(result.exception, ValueError)
    assert "record 1 and prediction 1 do not belong together" in str(result.exception)
    neither = run("simulate", "--records", RECORDS)
    assert "name either --version, which predicts, or --predictions" in str(neither.exception)


def test_pilots_are_found_among_records(run: Run, predictions: Path) -> None:
    result = run(
        *("pilots", "--records", RECORDS, "--predictions", str(predictions), "--min-encounters", "3", "--json")
    )
    plan = json.loads(result.output)
    assert plan["volume"]["value"] >= 0.2 and plan["hours_saved"] is None
    assert all(pilot["segment"]["setting"] != "inpatient" for pilot in plan["pilots"])


def test_pilots_need_history(run: Run) -> None:
    result = run("pilots")
    assert "no routine segment has 30 encounters in half of the history of 0; give more" in str(result.exception)


def test_check_shows_each_line_and_whether_it_is_in_force(run: Run, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    dates = "effective_from: 2026-01-01, effective_to: 2026-02-01"
    policy.write_text(f"watch_list: [{{payer: medicare, reason: an audit goes on, {dates}}}]")
    result = run("check", "--routing", str(policy), "--on", "2026-01-15")
    assert "payer-on-watch-list" in result.output and "2026-02-01" in result.output
    assert "drg-weight-high" in run("check").output
    policy.write_text(
        "rules: [{name: x, route: autonomous, when: {settings: [inpatient]}, reason: not allowed at all}]"
    )
    assert "rules.0.route" in str(run("check", "--routing", str(policy)).exception)
