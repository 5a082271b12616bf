"""``codes group`` as a person gives it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from scripts.codes_group import add_to

RECORD: dict[str, Any] = {
    "record_id": "r1",
    "encounter": {
        "setting": "inpatient",
        "specialty": "medicine",
        "service_start": "2026-05-01",
        "service_end": "2026-05-04",
        "age": 71,
        "sex": "F",
    },
    "codes": [
        {"system": "icd10cm", "code": "J18.9", "sequence": 1},
        {"system": "icd10cm", "code": "J96.01", "sequence": 2},
        {"system": "icd10cm", "code": "L89.153", "sequence": 3, "present_on_admission": "N"},
        {"system": "icd10cm", "code": "I10", "sequence": 4},
        {"system": "cpt", "code": "99223"},
    ],
}
CLINIC = RECORD | {"record_id": "r2", "encounter": {"setting": "outpatient", "specialty": "medicine"}}
UNSEQUENCED = RECORD | {"codes": [{"system": "icd10cm", "code": code} for code in ("J96.01", "J18.9")]}

RunGroup = Callable[..., Result]


@pytest.fixture
def run_group(tmp_path: Path) -> RunGroup:
    """Run the command on a file with this text, or these documents, one a line."""

    def run(text: Any, *options: str) -> Result:
        app = typer.Typer()
        app.callback()(lambda: None)
        add_to(app)
        file = tmp_path / "stays.jsonl"
        if not isinstance(text, str | bytes):
            text = "".join(json.dumps(document) + "\n" for document in text)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        arguments = ["group", str(file), "--data-dir", str(tmp_path / "data"), *options]
        return CliRunner(env={"COLUMNS": "400"}).invoke(app, arguments)

    return run


def test_a_stay_is_told_with_what_each_code_does(run_group: RunGroup) -> None:
    told = run_group(json.dumps(RECORD, indent=2))
    assert told.exit_code == 0
    lines = [line.split() for line in told.stdout.splitlines()]
    assert "DRG 193 Simple Pneumonia and Pleurisy with MCC".split() in lines
    assert "MDC 04, no weight table loaded, MS-DRG v43.1".split() in lines
    assert "J96.01 secondary MCC 195 MCC; without it the DRG would be 195 instead of 193".split() in lines
    assert any(line[:3] == ["L89.153", "secondary", "(MCC)"] for line in lines)
    assert "J96.01 213 yes Cardio-Respiratory Failure and Shock".split() in lines


def test_programs_get_one_answer_a_record(run_group: RunGroup) -> None:
    told = run_group([RECORD, CLINIC], "--json")
    assert told.exit_code == 0
    stay, clinic = (json.loads(line) for line in told.stdout.splitlines())
    assert (stay["record_id"], stay["grouping"]["drg"], len(stay["grouping"]["effects"])) == ("r1", "193", 4)
    assert (clinic["record_id"], clinic["grouping"]) == ("r2", None)
    assert stay["hccs"] == clinic["hccs"]
    assert [hcc["hcc"] for hcc in clinic["hccs"]] == ["213", "381"]


def test_why_there_is_no_drg(run_group: RunGroup) -> None:
    assert "no DRG: the setting is outpatient" in run_group([CLINIC]).stdout
    assert "name the principal diagnosis with --principal" in run_group([UNSEQUENCED]).stdout


def test_a_working_drg(run_group: RunGroup) -> None:
    told = run_group([UNSEQUENCED], "--principal", "icd10cm:J18.9")
    assert "working DRG 193" in told.stdout
    assert "working DRG 189" in run_group([UNSEQUENCED], "--principal", "icd10cm:J96.01").stdout


def test_a_patient_who_died(run_group: RunGroup) -> None:
    infarction = RECORD | {"codes": [{"system": "icd10cm", "code": "I21.4", "sequence": 1}]}
    assert "the discharge status is not known" in run_group([infarction]).stdout
    told = run_group([infarction], "--discharge-status", "20").stdout
    assert "DRG 285" in told
    assert "not known" not in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; give JSON with encounter and codes"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        ("{", "line 1: record: Invalid JSON"),
        ([RECORD, RECORD | {"codes": []}], "line 2: codes: Tuple should have at least 1 item"),
        ([{"codes": RECORD["codes"]}], "line 1: encounter: Field required"),
        (
            [RECORD | {"codes": [{"system": "icd10cm", "code": "Chest pain since noon"}]}],
            "line 1: codes.0: code 'CHE.ST P' is not a code of icd10cm",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(text: Any, message: str, run_group: RunGroup) -> None:
    told = run_group(text)
    assert isinstance(told.exception, ValueError)
    assert message in str(told.exception)
    assert "stays.jsonl" in str(told.exception)
