"""``chartloop feedback simulate`` end to end: a version suggests, people answer, an export follows."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ledger.engine import ledger
from ledger.principals import Role, create_key
from scripts.chartloop import app


def test_simulated_feedback_becomes_a_training_set(tiny_bundle: Path, tmp_path: Path) -> None:
    data_dir, out = tmp_path / "data", tmp_path / "training-set"
    data_dir.mkdir()
    place = ["--data-dir", str(data_dir)]
    command = ["feedback", "simulate", "--records", "sample:20?seed=3", "--version", str(tiny_bundle), "--json"]
    answer = CliRunner().invoke(app, [*command, *place])
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.stdout)
    assert report["num_suggestions"] == sum(report["routes"].values()) > 0
    assert sum(report["verdicts"].values()) > 0
    with ledger(data_dir) as engine:
        key = create_key(engine, role=Role.SUPERVISOR, name="ada")
    exported = CliRunner().invoke(app, ["feedback", "export", "--out", str(out), "--key", key, *place])
    assert exported.exit_code == 0, exported.output
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert records and all(record["split"] == "train" for record in records)


def test_no_record_of_the_split_is_told(tiny_bundle: Path, tmp_path: Path) -> None:
    command = ["feedback", "simulate", "--records", "sample:1?seed=3", "--version", str(tiny_bundle)]
    with pytest.raises(ValueError, match="have none of split"):
        CliRunner().invoke(app, [*command, "--split", "test", "--data-dir", str(tmp_path)], catch_exceptions=False)
