import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.code_systems import CodeSystems
from clinical_coding.data_directory import DataDirectory
from clinical_coding.decisions import Decision
from clinical_coding.manifest import Manifest
from clinical_coding.metrics import evaluate
from clinical_coding.readers import read_records
from clinical_coding.records import Split
from clinical_coding.registered_version import EvaluatedOn
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.adjudication import adjudicate
from feedback.decisions import record_decision
from feedback.queue import claim
from feedback.settings import load_feedback, load_reasons
from feedback.verdicts import AdjudicationRequest
from ledger.engine import ledger
from ledger.group_commit import write
from ledger.principals import authenticate, create_key
from ledger.suggestions import store
from scripts.options import CONFIGS
from training.register import register_version
from training.tracking import open_store, start_run


@dataclass(frozen=True)
class Judged:
    """What a coder rejected and a supervisor confirmed, with the supervisor's key."""

    key: str
    suggestion_id: str
    adjudication_id: str


@pytest.fixture
def judged(data_dir: Path, suggest_i10: Callable[[], Suggestion]) -> Judged:
    settings, reasons = load_feedback(CONFIGS / "feedback.yaml"), load_reasons(CONFIGS / "reasons.yaml")
    record = next(iter(read_records("sample:20", splits=(Split.TRAIN,))))
    request = SuggestionRequest(
        record_id=record.record_id, patient_id=record.patient_id, encounter=record.encounter, notes=record.notes
    )
    suggestion = suggest_i10()
    rejected = {"action": "reject", "system": "icd10cm", "code": "I10", "reason": "not-documented"}
    said = {"suggestion_id": suggestion.suggestion_id, "seconds_spent": 2, "codes": [rejected]}
    with ledger(data_dir) as engine:
        keys = {role: create_key(engine, role=role, name=f"the {role}") for role in ("service", "coder", "supervisor")}
        people = {role: authenticate(engine, key) for role, key in keys.items()}
        service, coder, supervisor = people["service"], people["coder"], people["supervisor"]
        assert service and coder and supervisor
        write(engine, lambda connection: store(connection, request, suggestion, principal=service))
        decision = Decision.model_validate(said)
        [override] = record_decision(
            engine,
            decision,
            idempotency_key="k1",
            principal=coder,
            settings=settings,
            reasons=reasons,
            systems=CodeSystems.embedded(),
        ).overrides
        claim(engine, override.override_id, principal=supervisor, settings=settings, systems=CodeSystems.embedded())
        asked = AdjudicationRequest.model_validate({"verdict": "coder-right", "citation": "section [I.B.4]"})
        adjudication = adjudicate(
            engine, override.override_id, asked, principal=supervisor, systems=CodeSystems.embedded()
        )
    return Judged(keys["supervisor"], suggestion.suggestion_id, adjudication.adjudication_id)


def register(data_dir: Path, manifest: Manifest, *, bundle: Path) -> None:
    """Register a small version as training does, without training."""
    open_store(DataDirectory.locate(data_dir))
    with start_run({}, data_dir=data_dir, manifest=manifest, dataset="feedback") as run:
        overall = evaluate([], []).overall
        register_version(
            run.run_id, bundle_folder=bundle, data_dir=data_dir, metrics=overall, evaluated_on=EvaluatedOn.DEV
        )


def test_an_export_says_what_went_in_and_what_to_do_next(
    chartloop: Any, judged: Judged, data_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    command = ("feedback", "export", "--data-dir", data_dir, "--out", out, "--replay", "sample:30?seed=5")
    told = chartloop(*command, "--key", judged.key)
    assert told.code == 0, told.err
    manifest = Manifest.model_validate_json((out / "manifest.json").read_bytes())
    assert "records; 0 positive, 1 negative, 0 unknown codes" in told.out
    assert f"content {manifest.content_sha256}" in told.out
    assert f"next: chartloop train --config configs/train-sample.yaml --manifest {out}" in told.out
    as_json = chartloop(*command, "--key", judged.key, "--json").json
    assert as_json["content_sha256"] == manifest.content_sha256
    assert (as_json["num_feedback"], as_json["num_replayed"]) == (1, len(manifest.record_ids) - 1)
    refused = chartloop(*command)
    assert (refused.code, "role coder may not export" in refused.err) == (2, True)


def test_what_is_left_out_is_named_with_its_remedy(chartloop: Any, judged: Judged, data_dir: Path) -> None:
    out = data_dir / "set"
    sources = ("--replay", "sample:20", "--replay", "sample:30")
    told = chartloop("feedback", "export", "--data-dir", data_dir, "--out", out, "--key", judged.key, *sources)
    assert told.code == 0, told.err
    [line] = [line for line in told.out.splitlines() if line.startswith("replayed-twice")]
    assert "replay each source once" in line


def test_a_trace_names_the_versions_that_learnt_from_a_verdict(
    chartloop: Any, judged: Judged, data_dir: Path, make_bundle: Callable[[str], Path]
) -> None:
    out = data_dir / "set"
    options = ("--data-dir", data_dir, "--key", judged.key)
    trace = ("feedback", "trace", f"feedback-{judged.suggestion_id}", *options)
    assert chartloop("feedback", "export", "--out", out, *options).code == 0
    assert "trained versions: none yet" in chartloop(*trace).out
    manifest = Manifest.model_validate_json((out / "manifest.json").read_bytes())
    # The small bundle says that it was trained on this content.
    manifest = manifest.model_copy(update={"content_sha256": "2" * 64})
    register(data_dir, manifest, bundle=make_bundle("one"))
    told = chartloop(*trace)
    assert told.code == 0, told.err
    assert "trained versions: 1" in told.out
    assert f"suggestion {judged.suggestion_id}  <- training-record asked for" in told.out
    assert "by the coder (coder), decided in 2 s" in told.out
    assert "by the supervisor (supervisor), round 1: coder-right" in told.out
    assert "citation: section [I.B.4]" in told.out
    as_json = chartloop("feedback", "trace", judged.adjudication_id, *options, "--json").json
    assert as_json["versions"] == {judged.adjudication_id: [1]}
    assert (as_json["kind"], as_json["versions_unknown"]) == ("adjudication", None)


def test_a_trace_without_a_store_of_versions_shows_the_rest(chartloop: Any, judged: Judged, data_dir: Path) -> None:
    (data_dir / "mlflow.db").unlink()
    told = chartloop("feedback", "trace", judged.suggestion_id, "--data-dir", data_dir, "--key", judged.key)
    assert told.code == 0
    assert "negative icd10cm:I10" in told.out
    assert "which versions learnt from it cannot be told: no version is registered" in told.err
    assert "trained versions" not in told.out
    as_json = chartloop(
        "feedback", "trace", judged.suggestion_id, "--data-dir", data_dir, "--key", judged.key, "--json"
    )
    assert as_json.json["versions"] is None
    assert json.dumps(as_json.json["versions_unknown"]).startswith('"no version is registered')
