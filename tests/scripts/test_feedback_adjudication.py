"""A supervisor's work on the command line: queue, show, adjudicate, and what a coder is told."""

from pathlib import Path
from typing import Any

import pytest

from clinical_coding.artefact import new_id
from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import Decision
from clinical_coding.readers import read_records
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.decisions import record_decision
from feedback.settings import load_feedback, load_reasons
from ledger.engine import ledger
from ledger.group_commit import write
from ledger.principals import authenticate, create_key
from ledger.suggestions import store

CONFIGS = Path(__file__).parents[2] / "configs"
CODES = ("E11.9", "R07.9")
MODIFY = {"action": "modify", "code": "E11.9", "to": "E11.65", "reason": "more-specific-code-documented"}
REJECT = {"action": "reject", "code": "R07.9", "reason": "integral-symptom"}
ADD = {"action": "add", "code": "J45.909", "reason": "missed-documentation"}


@pytest.fixture
def case_ids(tmp_path: Path) -> list[str]:
    """The override cases of one decision, modify, reject and add, in the data directory ``tmp_path``."""
    [record] = read_records("sample:1")
    asked = SuggestionRequest(record_id=record.record_id, encounter=record.encounter, notes=record.notes)
    note = record.notes[0]
    evidence = {"note_id": note.note_id, "start": 0, "end": 12, "text": note.text[:12]}
    other = {"system": "icd10cm", "code": "J45.909", "description": None, "confidence": 0.06}
    rows = [
        {"system": "icd10cm", "code": code, "description": None, "confidence": 0.9, "rank": rank}
        | {"evidence": [evidence], "alternatives": [other]}
        for rank, code in enumerate(CODES, start=1)
    ]
    suggestion = Suggestion.model_validate(
        {
            "suggestion_id": new_id(),
            "version": {"name": "clinical-coder", "number": 1, "alias": None, "bundle_sha256": "0" * 64},
            "route": {"decision": "assisted", "rules": [], "record_confidence": 0.9},
            "degraded": False,
            "codes": rows,
            "trace_id": "0" * 32,
        }
    )
    codes = [{"system": "icd10cm"} | action for action in (MODIFY, REJECT, ADD)]
    body = {"suggestion_id": suggestion.suggestion_id, "codes": codes, "seconds_spent": 2}
    with ledger(tmp_path) as engine:
        coder = authenticate(engine, create_key(engine, role="coder", name="ada"))
        assert coder is not None
        write(engine, lambda connection: store(connection, asked, suggestion, principal=coder))
        recorded = record_decision(
            engine,
            Decision.model_validate(body),
            idempotency_key="k1",
            principal=coder,
            settings=load_feedback(CONFIGS / "feedback.yaml"),
            reasons=load_reasons(CONFIGS / "reasons.yaml"),
            systems=CodeSystems.embedded(),
        )
    return [override.override_id for override in recorded.overrides]


@pytest.fixture
def key(case_ids: list[str], tmp_path: Path) -> str:
    """A supervisor's key."""
    with ledger(tmp_path) as engine:
        return create_key(engine, role="supervisor", name="grace")


def test_a_case_is_shown_judged_and_seen_closed(chartloop: Any, case_ids: list[str], key: str, tmp_path: Path) -> None:
    who = ("--key", key, "--data-dir", tmp_path)
    queue = chartloop("feedback", "queue", *who)
    assert "3 of 3 open cases" in queue.out
    assert [case_id for case_id in case_ids if case_id in queue.out] == case_ids
    for dispute in ("E11.9 or E11.65", "reject R07.9", "add J45.909"):
        assert dispute in queue.out
    shown = chartloop("feedback", "show", *who)
    assert shown.code == 0, shown.err
    for expected in (
        f"case {case_ids[0]}  override  claimed by you, 30 min left",
        "suggests E11.9 icd10cm  Type 2 diabetes mellitus without complications",
        "puts in its place E11.65 icd10cm  Type 2 diabetes mellitus with hyperglycemia",
        "more-specific-code-documented: The documentation supports a more specific code.",
        "[1][2]",
        f"adjudicate {case_ids[0]}",
        "coder-right                      E11.65 stands",
    ):
        assert expected in shown.out
    given = (
        "feedback",
        "adjudicate",
        case_ids[0],
        "--verdict",
        "coder-right",
        "--citation",
        "Guideline [I.C.4.a]",
        *who,
    )
    told = chartloop(*given)
    assert told.code == 0, told.err
    for expected in ("+ icd10cm:E11.65  stands", "- icd10cm:E11.9  does not stand", "on Guideline [I.C.4.a]"):
        assert expected in told.out
    assert chartloop(*given, "--json").json["verdict"] == "coder-right"
    again = chartloop("feedback", "show", case_ids[0], *who)
    assert "closed" in again.out and "verdict coder-right on Guideline [I.C.4.a]" in again.out
    assert "give the verdict" not in again.out


def test_a_named_case_is_claimed_only_when_asked_and_given_back(
    chartloop: Any, case_ids: list[str], key: str, tmp_path: Path
) -> None:
    who = ("--key", key, "--data-dir", tmp_path)
    added = case_ids[2]
    looked = chartloop("feedback", "show", added, *who)
    assert "not claimed" in looked.out and f"show {added} --claim" in looked.out
    assert (
        "does not suggest J45.909" in looked.out and "considered it in the place of [2], confidence 0.06" in looked.out
    )
    early = chartloop("feedback", "adjudicate", added, "--verdict", "ai-right", "--citation", "x", *who)
    assert (early.code, early.out) == (2, "") and "is not claimed by you" in early.err
    assert chartloop("feedback", "show", added, "--claim", "--json", *who).json["is_yours"]
    assert chartloop("feedback", "show", "--json", *who).json["case_id"] == added
    assert chartloop("feedback", "release", added, *who).code == 0
    assert chartloop("feedback", "show", "--json", *who).json["case_id"] == case_ids[0]


def test_both_wrong_takes_codes_in_any_writing(chartloop: Any, case_ids: list[str], key: str, tmp_path: Path) -> None:
    who = ("--key", key, "--data-dir", tmp_path)
    chartloop("feedback", "show", case_ids[1], "--claim", *who)
    given = ("feedback", "adjudicate", case_ids[1], "--verdict", "both-wrong", "--citation", "x", *who)
    for wrong, told in (
        ((), "must name a correct code"),
        (("--code", "I10"), "expected SYSTEM:CODE"),
        (("--code", "icd9:401"), "expected SYSTEM:CODE"),
        (("--code", "icd10cm:99213"), "is not a code of icd10cm"),
        (("--code", "icd10cm:E11"), "is not a valid code"),
        (("--code", "icd10cm:I10", "--no-codes"), "contradict each other"),
    ):
        refused = chartloop(*given, *wrong)
        assert refused.code == 2 and told in refused.err and "Traceback" not in refused.err
    kept = chartloop(*given, "--code", "icd10cm:e1165", "--code", "cpt:99214", "--json").json
    assert {(code["system"], code["code"], code["state"]) for code in kept["codes"]} == {
        ("icd10cm", "E11.65", "positive"), ("cpt", "99214", "positive"), ("icd10cm", "R07.9", "negative"),
    }  # fmt: skip


def test_a_coder_is_told_how_to_become_a_supervisor(chartloop: Any, case_ids: list[str], tmp_path: Path) -> None:
    for command in (("queue",), ("show",), ("show", case_ids[0]), ("release", case_ids[0])):
        told = chartloop("feedback", *command, "--data-dir", tmp_path)
        assert told.code == 2
        assert "`chartloop keys create --role supervisor --name NAME` and given by --key or CHARTLOOP_KEY" in told.err


def test_an_empty_queue_says_so(chartloop: Any, tmp_path: Path) -> None:
    with ledger(tmp_path) as engine:
        key = create_key(engine, role="supervisor", name="grace")
    who = ("--key", key, "--data-dir", tmp_path)
    assert "none of 0 open cases" in chartloop("feedback", "queue", *who).out
    assert "no case waits for a verdict of yours" in chartloop("feedback", "show", *who).out
    assert chartloop("feedback", "show", "--json", *who).json is None
    assert chartloop("feedback", "queue", "--json", *who).json == {"cases": [], "num_open": 0, "next_after": None}
