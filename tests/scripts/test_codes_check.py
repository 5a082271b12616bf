"""``chartloop codes check``: findings for people and programs, exit codes, and errors that say what to mend."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from scripts import codes_check

ENCOUNTER = {
    "setting": "outpatient",
    "specialty": "family-medicine",
    "payer": "medicare",
    "service_start": "2026-05-04",
    "age": 50,
    "sex": "F",
}


def fields(*codes: str, **changes: Any) -> dict[str, Any]:
    written = [dict(zip(("system", "code"), code.split(":"), strict=True)) for code in codes]
    return {"record_id": "r1", "encounter": ENCOUNTER, "codes": written} | changes


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    app = typer.Typer()
    app.callback()(lambda: None)
    codes_check.add_to(app)

    def run(*documents: dict[str, Any] | str, options: Sequence[str] = ()) -> Result:
        path = tmp_path / "records.jsonl"
        path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in documents))
        return CliRunner().invoke(app, ["check", str(path), "--data-dir", str(tmp_path / "data"), *options])

    return run


def test_a_blocking_finding_is_shown_and_fails(run: Callable[..., Result]) -> None:
    result = run(fields("icd10cm:E10.9", "icd10cm:E11.9"))
    assert result.exit_code == 1
    assert "1 blocking" in result.output
    assert "excludes1-conflict" in result.output
    assert result.output.index("excludes1-conflict") < result.output.index("use-additional-code-advised")


def test_a_warning_does_not_fail(run: Callable[..., Result]) -> None:
    result = run(fields("icd10cm:I10", "icd10cm:N18.4"))
    assert result.exit_code == 0
    assert "0 blocking, 1 warning" in result.output


def test_sound_codes_are_said_to_be_sound(run: Callable[..., Result]) -> None:
    result = run(fields("icd10cm:I10"))
    assert (result.exit_code, result.output.strip()) == (0, "r1: nothing found (1 codes)")


def test_json_has_one_line_for_each_record(run: Callable[..., Result]) -> None:
    result = run(fields("icd10cm:I10"), fields("icd10cm:E12.9", record_id="r2"), options=["--json"])
    first, second = map(json.loads, result.stdout.splitlines())
    assert (result.exit_code, first) == (1, {"record_id": "r1", "findings": []})
    assert second["record_id"] == "r2"
    assert [(one["rule"], one["severity"], one["codes"]) for one in second["findings"]] == [
        ("code-unknown", "blocking", ["icd10cm:E12.9"])
    ]


def test_notes_are_read(run: Callable[..., Result]) -> None:
    text = "Pain in the right knee."
    code = {"system": "icd10cm", "code": "M25.562", "evidence": [{"note_id": "n1", "start": 0, "end": len(text) - 1}]}
    result = run(fields(codes=[code], notes=[{"note_id": "n1", "text": text}]), options=["--json"])
    (finding,) = json.loads(result.stdout)["findings"]
    assert finding["rule"] == "laterality-conflict"
    assert finding["evidence"] == code["evidence"]
    assert text not in result.stdout


def test_policy_and_necessity_are_applied(run: Callable[..., Result], tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("severities: {combination-code-due: blocking}\n")
    table = tmp_path / "necessity.csv"
    table.write_text('procedure,diagnoses,payer,source\ncpt:93880,"I63, G45",medicare,Synthetic coverage\n')
    options = ["--policy", str(policy), "--necessity", str(table), "--json"]
    result = run(fields("icd10cm:I10", "icd10cm:N18.4", "cpt:93880"), options=options)
    found = {one["rule"]: one["severity"] for one in json.loads(result.stdout)["findings"]}
    assert (result.exit_code, found) == (1, {"combination-code-due": "blocking", "medical-necessity": "warning"})


def test_the_shipped_policy_is_the_default(run: Callable[..., Result]) -> None:
    result = run(fields("icd10cm:I10", "cpt:99397"), options=["--json"])
    assert [one["rule"] for one in json.loads(result.stdout)["findings"]] == ["medicare-preventive-visit"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("", "is empty"),
        ("no json", "line 1"),
        ({"encounter": ENCOUNTER}, "codes: Field required"),
        (fields("icd10cm:e119"), "must be written 'E11.9'"),
        (fields("icd10cm:I10", encounter={"setting": "ward"}), "encounter.setting"),
        (
            fields(
                codes=[{"system": "icd10cm", "code": "I10", "evidence": [{"note_id": "n1", "start": 0, "end": 99}]}],
                notes=[{"note_id": "n1", "text": "Hypertension."}],
            ),
            "evidence [0, 99) of code I10 is not in a note 'n1'",
        ),
    ],
)
def test_what_cannot_be_read_is_an_error(run: Callable[..., Result], document: dict[str, Any] | str, told: str) -> None:
    result = run(document)
    assert isinstance(result.exception, ValueError)
    assert told in str(result.exception)
    assert "Hypertension" not in str(result.exception)


def test_a_separator_within_a_text_does_not_end_a_line(run: Callable[..., Result]) -> None:
    note = {"note_id": "n1", "text": "Hypertension.\u2028Stable.\x85"}
    result = run(json.dumps(fields("icd10cm:I10", notes=[note]), ensure_ascii=False), fields("icd10cm:I10"))
    assert (result.exit_code, result.output.count("nothing found")) == (0, 2)


def test_a_document_over_several_lines_is_told_where_it_is_broken(run: Callable[..., Result]) -> None:
    result = run('{\n "record_id": "r1",\n "encounter": }')
    assert isinstance(result.exception, ValueError)
    assert "Invalid JSON" in str(result.exception) and "line 3" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "setting", "rules"),
    [
        ("Possible pneumonia.", "outpatient", ["uncertain-outpatient"]),
        ("No pneumonia.", "outpatient", ["negated"]),
        ("Possible pneumonia.", "inpatient", []),
        ("Acute pneumonia.", "outpatient", []),
    ],
)
def test_codes_that_the_notes_do_not_support_are_told(
    run: Callable[..., Result], text: str, setting: str, rules: list[str]
) -> None:
    start = text.index("pneumonia")
    code = {"system": "icd10cm", "code": "J18.9", "evidence": [{"note_id": "n", "start": start, "end": start + 9}]}
    note = {"note_id": "n", "type": "discharge-summary", "text": text}
    result = run(fields(encounter=ENCOUNTER | {"setting": setting}, codes=[code], notes=[note]), options=["--json"])
    found = [one["rule"] for one in json.loads(result.stdout)["findings"] if one["severity"] == "warning"]
    assert (result.exit_code, found) == (0, rules)
