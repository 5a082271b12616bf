"""The chartloop command: help, training, predictions, versions, records, keys, and errors without tracebacks."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from clinical_coding.bundle import read_bundle
from clinical_coding.predictions import Prediction
from clinical_coding.readers import read_records
from ledger.engine import default_url, open_engine
from ledger.principals import authenticate, find_key

HEAVY = [
    "accelerate", "datasets", "fastapi", "matplotlib", "mlflow", "numpy", "pandas", "peft", "pyarrow", "pydantic",
    "scipy", "simple_icd_10_cm", "sklearn", "sqlalchemy", "torch", "transformers", "uvicorn",
]  # fmt: skip
HELP = f"""
import sys
sys.argv = ["chartloop", "--help"]
from scripts.chartloop import main
try:
    main()
finally:
    print("imported", sorted(set({HEAVY}) & set(sys.modules)))
"""
COMMANDS = [
    (), ("train",), ("predict",), ("evaluate",), ("serve",), ("suggest",), ("decide",),
    ("versions",), ("versions", "list"),
    ("versions", "compare"), ("versions", "promote"), ("versions", "rollback"), ("versions", "history"),
    ("records",), ("records", "check"), ("records", "convert"), ("keys",), ("keys", "create"), ("keys", "revoke"),
    ("keys", "list"), ("keys", "replace"), ("keys", "rotate"),
    ("audit",), ("audit", "verify"), ("audit", "head"), ("audit", "list"), ("audit", "purge"),
    ("jobs",), ("jobs", "submit"), ("jobs", "status"), ("jobs", "fetch"), ("jobs", "cancel"),
    ("queries",), ("queries", "list"), ("queries", "show"), ("queries", "send"), ("queries", "answer"),
    ("queries", "close"), ("codes",), ("codes", "import"), ("codes", "list"), ("codes", "show"), ("codes", "search"),
    ("codes", "diff"), ("codes", "notes"), ("codes", "check"), ("codes", "group"), ("versions", "extend"),
    ("feedback",), ("feedback", "queue"), ("feedback", "show"), ("feedback", "release"), ("feedback", "adjudicate"),
    ("feedback", "import"), ("feedback", "export"), ("feedback", "trace"), ("feedback", "simulate"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(chartloop: Any, command: tuple[str, ...]) -> None:
    told = chartloop(*command, "--help")
    assert told.code == 0
    assert f"Usage: chartloop {' '.join(command)}".rstrip() in told.out
    assert "Traceback" not in told.err


def test_help_answers_without_heavy_imports() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "imported []"


def test_train_prints_the_version_as_json(chartloop: Any, tiny_config: Any, data_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    told = chartloop(
        "train", "--config", config, "--records", "sample:24?seed=1", "--splits", "train,dev", "--data-dir", data_dir
    )
    assert told.code == 0, told.err
    assert told.json.keys() == {"run_id", "version", "bundle_sha256", "evaluated_on", "metrics"}
    assert (told.json["version"], told.json["evaluated_on"]) == (1, "held-out")
    assert 0 <= told.json["metrics"]["mean_average_precision"] <= 1
    assert "accuracy by specialty" in told.err
    (bundle,) = (data_dir / "artifacts").glob("*/artifacts/bundle-*")
    assert read_bundle(bundle)[1] == told.json["bundle_sha256"]
    assert json.loads((bundle / "manifest.json").read_text())["sources"] == ["sample:24?seed=1"]


def test_predict_writes_a_line_a_record(chartloop: Any, trained_store: Any, tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    told = chartloop(
        "predict", "--version", "candidate", "--records", "sample:20?seed=3", "--out", out,
        "--data-dir", trained_store.data_dir,
    )  # fmt: skip
    assert told.code == 0, told.err
    predictions = [Prediction.model_validate_json(line) for line in out.read_text().splitlines()]
    assert [one.record_id for one in predictions] == [one.record_id for one in read_records("sample:20?seed=3")]
    assert {one.version for one in predictions} == {"1"}
    assert all(0 < len(one.codes) <= 100 for one in predictions)
    assert "20 predictions" in told.err


def test_predict_takes_one_split_and_a_bundle_s_folder(chartloop: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    arguments = ("--records", "sample:20", "--split", "train", "--out", out)
    assert chartloop("predict", "--version", tiny_bundle, *arguments).code == 0
    wanted = {one.record_id for one in read_records("sample:20") if one.split == "train"}
    assert {json.loads(line)["record_id"] for line in out.read_text().splitlines()} == wanted


def test_evaluate_prints_json_and_draws(chartloop: Any, trained_store: Any, tmp_path: Path) -> None:
    told = chartloop(
        "evaluate", "--version", "1", "--records", "sample:60", "--split", "dev", "--plots", tmp_path / "plots",
        "--json", "--data-dir", trained_store.data_dir,
    )  # fmt: skip
    assert told.code == 0, told.err
    assert told.json == trained_store.result.evaluation.as_dict()
    drawn = list((tmp_path / "plots").iterdir())
    assert drawn
    assert all(path.suffix == ".png" and path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_evaluate_shows_tables(chartloop: Any, trained_store: Any) -> None:
    told = chartloop(
        "evaluate", "--version", "candidate", "--records", "sample:20", "--data-dir", trained_store.data_dir
    )
    assert told.code == 0, told.err
    for dimension in ("specialty", "setting", "complexity", "payer"):
        assert f"accuracy by {dimension}" in told.out


def test_versions_are_listed(chartloop: Any, trained_store: Any) -> None:
    told = chartloop("versions", "list", "--data-dir", trained_store.data_dir)
    assert (told.code, "candidate" in told.out) == (0, True)
    assert f"{trained_store.result.evaluation.overall.micro_f1:.3f}" in told.out
    (version,) = chartloop("versions", "list", "--json", "--data-dir", trained_store.data_dir).json
    assert (version["number"], version["aliases"]) == (1, ["candidate"])
    assert version["bundle_sha256"] == trained_store.result.version.bundle_sha256


def test_records_are_checked_and_converted_there_and_back(chartloop: Any, tmp_path: Path) -> None:
    told = chartloop("records", "check", "sample:30?seed=2")
    assert (told.code, "30 records" in told.out) == (0, True)
    lines, table, again = (tmp_path / name for name in ("a.jsonl", "b.parquet", "c.jsonl"))
    for spec, out in (("sample:30?seed=2", lines), (f"jsonl:{lines}", table), (f"parquet:{table}", again)):
        assert "30 records in" in chartloop("records", "convert", spec, out).err
    assert again.read_bytes() == lines.read_bytes()
    assert list(read_records(f"jsonl:{again}")) == list(read_records("sample:30?seed=2"))


def test_records_check_says_what_is_wrong_and_keeps_it(chartloop: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"record_id": "r1", "note": "secret words"}\n')
    told = chartloop("records", "check", f"jsonl:{tmp_path / 'bad.jsonl'}", "--rejects", tmp_path / "rejects.jsonl")
    assert told.code == 0
    assert "0 records" in told.out
    assert "secret" not in told.out + told.err
    assert "secret words" in (tmp_path / "rejects.jsonl").read_text()


def test_a_key_is_printed_last_and_ends_when_revoked(chartloop: Any, tmp_path: Path) -> None:
    key = chartloop("keys", "create", "--role", "coder", "--name", "ann", "--data-dir", tmp_path).out.splitlines()[-1]
    engine = open_engine(default_url(tmp_path))
    try:
        principal = authenticate(engine, key)
        assert principal is not None
        assert (principal.name, principal.role) == ("ann", "coder")
        told = chartloop("keys", "list", "--data-dir", tmp_path)
        assert "ann" in told.out
        assert key not in told.out + told.err
        assert chartloop("keys", "revoke", "--name", "ann", "--data-dir", tmp_path).code == 0
        assert authenticate(engine, key) is None
    finally:
        engine.dispose()


def test_a_key_is_made_for_what_it_is_for_and_rotated_without_an_outage(chartloop: Any, tmp_path: Path) -> None:
    here = ("--name", "ehr", "--data-dir", tmp_path)
    asked = ("--role", "service", "--scope", "suggest", "--scope", "read", "--expires", "90d")
    old = chartloop("keys", "create", *asked, "--requests-per-minute", "60", *here).out.splitlines()[-1]
    new = chartloop("keys", "rotate", "--overlap", "24h", *here).out.splitlines()[-1]
    engine = open_engine(default_url(tmp_path))
    try:
        before, after = find_key(engine, old), find_key(engine, new)
        assert before is not None and after is not None and before.principal == after.principal
        assert after.scopes == {"suggest", "read"} and after.requests_per_minute == 60
        assert before.expires_at is not None and before.expires_at - datetime.now(UTC) <= timedelta(hours=24)
    finally:
        engine.dispose()
    for wrong, told in ((("--scope", "all"), "'all' is not a scope"), (("--expires", "soon"), "'soon' is no duration")):
        refused = chartloop("keys", "create", "--role", "service", *wrong, *here)
        assert refused.code == 2 and told in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "--version", "7", "--records", "sample:3"), "version '7' is not registered"),
        (("evaluate", "--version", "champion", "--records", "sample:3"), "version 'champion' is not registered"),
        (("evaluate", "--version", "1", "--records", "sample:3", "--split", "devel"), "'devel' is not a split"),
        (("evaluate", "--version", "1", "--records", "sample:0"), "has no record"),
        (("evaluate", "--version", "1", "--records", "sample:x"), "needs whole numbers"),
        (("evaluate", "--version", "1", "--records", "jsonl:nowhere"), "names no file at nowhere"),
        (("train", "--config", "nowhere.yaml"), "nowhere.yaml does not exist"),
        (("keys", "create", "--role", "boss", "--name", "x"), "boss"),
    ],
)
def test_a_wrong_argument_is_named_without_a_traceback(
    chartloop: Any, trained_store: Any, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    data_dir = tmp_path if arguments[0] == "keys" else trained_store.data_dir
    told = chartloop(*arguments, "--data-dir", data_dir)
    assert told.code == 2
    assert message in told.err
    assert told.err.startswith("error:")
    assert "Traceback" not in told.err
    assert told.out == ""


def test_a_wrong_split_to_train_on_is_named(chartloop: Any, tiny_config: Any, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    told = chartloop("train", "--config", config, "--splits", "train,devel", "--data-dir", tmp_path)
    assert told.code == 2
    assert "splits.1: Input should be 'train', 'dev' or 'test'" in told.err


def test_an_unknown_ending_is_named(chartloop: Any, tmp_path: Path) -> None:
    told = chartloop("records", "convert", "sample:2", tmp_path / "records.csv")
    assert (told.code, told.err.strip()) == (
        2,
        "error: file 'records.csv' ends in '.csv'; expected .jsonl or .parquet",
    )


def test_the_names_of_simulated_people_are_theirs_alone(chartloop: Any, tmp_path: Path) -> None:
    told = chartloop("keys", "create", "--role", "supervisor", "--name", "sim-anna", "--data-dir", tmp_path)
    assert told.code == 2
    assert "begins like those of simulated people" in told.err


def test_a_decision_without_an_answer_can_be_sent_again_safely(chartloop: Any) -> None:
    url = "http://127.0.0.1:1"
    told = chartloop("decide", "0193", "--accept-rest", "--url", url, "--key", "k")
    assert told.code == 2
    assert re.search(r"send it again with --idempotency-key [0-9a-f-]{36}", " ".join(told.err.split()))
