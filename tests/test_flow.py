"""One record through all eleven stages, on real parts throughout, by the commands that people give."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from clinical_coding.codes import CodeState
from clinical_coding.decisions import CodeAction, CodeDecision, Decision
from clinical_coding.manifest import Manifest
from clinical_coding.readers import assign_split, read_records, write_jsonl
from clinical_coding.records import CodedRecord, Split
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from serving.client import Client

if TYPE_CHECKING:
    from training.config import TrainConfig

BASE = "sample:60"
FRESH = "sample:40?seed=5"


@dataclass(frozen=True)
class Commands:
    """The chartloop command on one data directory."""

    data_dir: Path

    def __call__(self, *arguments: object, key: str | None = None) -> str:
        """Run one command to its end; give what it printed on standard output."""
        done = subprocess.run(
            self.line(*arguments), env=self.environment(key), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: object, key: str | None = None) -> Any:
        """Run one command; give the last line that it printed, read as JSON."""
        return json.loads(self(*arguments, key=key).splitlines()[-1])

    @staticmethod
    def line(*arguments: object) -> list[str]:
        return [sys.executable, "-m", "scripts.chartloop", *map(str, arguments)]

    def environment(self, key: str | None) -> dict[str, str]:
        places = {"CHARTLOOP_DATA_DIR": str(self.data_dir), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return os.environ | places | ({"CHARTLOOP_KEY": key} if key else {})

    @contextmanager
    def serving(self, *options: object) -> "Iterator[Server]":
        """Run ``chartloop serve`` until the block ends."""
        with (self.data_dir / "serve.err").open("w") as errors:
            process = subprocess.Popen(
                self.line("serve", *options),
                env=self.environment(None),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            yield Server(process)
        finally:
            process.terminate()
            process.communicate(timeout=60)


@dataclass(frozen=True)
class Server:
    """A running ``chartloop serve``."""

    process: "subprocess.Popen[str]"

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read what it prints up to a line that begins so."""
        watchdog = threading.Timer(120, self.process.kill)
        watchdog.start()
        try:
            assert self.process.stdout is not None
            for line in self.process.stdout:
                if match := re.match(pattern, line):
                    return match
        finally:
            watchdog.cancel()
        raise AssertionError(f"the server ended without saying {pattern}")


def request_of(record: CodedRecord) -> SuggestionRequest:
    return SuggestionRequest(
        record_id=record.record_id, patient_id=record.patient_id, encounter=record.encounter, notes=record.notes
    )


def suggest_until_codes(client: Client, records: Iterator[CodedRecord]) -> tuple[CodedRecord, Suggestion]:
    """The first record of the train split for which the small model suggests a code."""
    for record in records:
        if assign_split(record.patient_id) is Split.TRAIN:
            suggestion = client.suggest(request_of(record))
            if suggestion.codes:
                return record, suggestion
    raise AssertionError("the model suggests nothing on any record")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_one_record_goes_all_the_way_round(tiny_config: "TrainConfig", data_dir: Path, tmp_path: Path) -> None:
    chartloop = Commands(data_dir)
    keys = {
        role: chartloop("keys", "create", "--role", role, "--name", f"a-{role}").split()[-1]
        for role in ("coder", "supervisor", "reviewer")
    }

    # 1 read
    base = tmp_path / "base.jsonl"
    write_jsonl(read_records(BASE), base)
    config = tmp_path / "train.yaml"
    config.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json") | {"records": f"jsonl:{base}"}))

    # 2 batch, 3 fine-tune, 4 evaluate, 5 register
    first = chartloop.json("train", "--config", config)
    assert first["version"] == 1 and first["evaluated_on"] == "dev"

    # 6 publish
    routing = tmp_path / "routing.yaml"
    routing.write_text("thresholds: [{autonomous_from: 1.0, assisted_from: 0.0, reason: a coder sees all}]")
    ports = ("--port", 0, "--triton-grpc-port", 0, "--triton-metrics-port", 0)
    with chartloop.serving(*ports, "--routing", routing) as server:
        url = server.wait_for(r"ready: (http://\S+) \(version 1, candidate; triton ")[1]

        # 7 suggest
        with Client(url, keys["coder"], timeout_seconds=60) as coder:
            record, suggestion = suggest_until_codes(coder, read_records(FRESH))
            assert coder.suggestion(suggestion.suggestion_id) == suggestion

            # 8 decide
            disputed = suggestion.codes[0]
            rejection = CodeDecision(
                action=CodeAction.REJECT, system=disputed.system, code=disputed.code, reason="not-documented"
            )
            decided = coder.decide(
                Decision(suggestion_id=suggestion.suggestion_id, codes=(rejection,), seconds_spent=30)
            )
            assert [override.code for override in decided.overrides] == [disputed.code]

        # 9 adjudicate
        case = chartloop.json("feedback", "show", "--json", key=keys["supervisor"])
        assert (case["kind"], case["answer"]["code"]["code"]) == ("override", disputed.code)
        verdict = ("--verdict", "ai-right", "--citation", "Guideline I.B.14")
        ruling = chartloop.json("feedback", "adjudicate", case["case_id"], *verdict, "--json", key=keys["supervisor"])

        # 10 curate: stage 1 again
        folder = tmp_path / "training-set"
        chartloop("feedback", "export", "--out", folder, "--replay", f"jsonl:{base}", key=keys["supervisor"])
        learnt = {one.record_id: one for one in read_records(f"jsonl:{folder / 'records.jsonl'}")}
        taught = learnt[f"feedback-{suggestion.suggestion_id}"]
        assert taught.notes == record.notes
        assert taught.keys(CodeState.POSITIVE) == {f"{disputed.system}:{disputed.code}"}
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        assert manifest.adjudication_ids == (ruling["adjudication_id"],)
        second = chartloop.json("train", "--config", config, "--manifest", folder)
        assert second["version"] == 2

        # 11 govern
        page = tmp_path / "comparison.html"
        compared = chartloop.json("versions", "compare", 1, 2, "--html", page, "--json")
        assert (compared["a"]["number"], compared["b"]["number"]) == (1, 2)
        assert page.read_text(encoding="utf-8").startswith("<!")
        chartloop("versions", "promote", 2, "--reason", "learnt from a verdict", key=keys["reviewer"])
        server.wait_for("serving: version 2, champion")
        with Client(url, keys["coder"], timeout_seconds=60) as coder:
            assert coder.suggest(request_of(record)).version.number == 2
            chartloop("versions", "promote", 1, "--reason", "to be able to go back", key=keys["reviewer"])
            server.wait_for("serving: version 1, champion")
            chartloop("versions", "rollback", "--reason", "it was better", key=keys["reviewer"])
            server.wait_for("serving: version 2, champion")
            assert coder.suggest(request_of(record)).version.number == 2

    # and all the way back
    traced = chartloop.json("feedback", "trace", taught.record_id, "--json", key=keys["supervisor"])
    assert traced["suggestion"]["suggestion_id"] == suggestion.suggestion_id
    assert traced["versions"] == {ruling["adjudication_id"]: [2]}
    assert "a-coder" in json.dumps(traced["decisions"]) and "a-supervisor" in json.dumps(traced["adjudications"])
    chartloop("audit", "verify")
