"""Measure how long a supervisor waits for the next case, and for a page of the queue, when very many are open.

A part of ``benchmark_feedback``. The ledger is filled in bulk, past the audit log, with sample
encounters that coders overrode. At the head of the queue lie cases that the supervisor may not be
given: some of own decisions, some claimed by others.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, Table, insert, text

from clinical_coding.artefact import new_id
from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import Verdict
from clinical_coding.readers import read_records
from clinical_coding.suggestions import SuggestionRequest
from feedback.adjudication import adjudicate
from feedback.queue import list_cases, next_case
from feedback.settings import FeedbackSettings
from feedback.tables import cases, decisions, overrides
from feedback.verdicts import AdjudicationRequest
from ledger.engine import writing
from ledger.principals import Principal, Role, authenticate, create_key
from ledger.suggestions import suggestion_contents, suggestions
from scripts.benchmark_results import Row

__all__ = ["queue_speed"]

NUM_ROUNDS: Final = 200
CASES_A_SUGGESTION: Final = 20
NUM_OWN: Final = 1_000
NUM_CLAIMED: Final = 200
_ROWS_AT_ONCE: Final = 100


def queue_speed(engine: Engine, *, num_open: int, settings: FeedbackSettings) -> list[Row]:
    """Fill a ledger with open cases, then take and judge some of them, one after the other.

    Args:
        engine: An empty, migrated database.
        num_open: Open cases.
        settings: How long a claim lasts.

    Returns:
        The 95th percentile of taking the next case, durably and with its note, and of listing a page.
    """
    systems = CodeSystems.embedded()
    systems.icd10cm()
    supervisor, other, coder = (_principal(engine, role) for role in (Role.SUPERVISOR, Role.SUPERVISOR, Role.CODER))
    _fill(engine, num_open=num_open, coder=coder, own=supervisor, other=other)
    asked = AdjudicationRequest(verdict=Verdict.POLICY_UNCLEAR, citation="benchmark")
    taken, listed = [], []
    for _ in range(NUM_ROUNDS):
        seconds, case = _time(lambda: next_case(engine, principal=supervisor, settings=settings, systems=systems))
        assert case is not None, "more cases are open than are judged here"
        taken.append(seconds)
        adjudicate(engine, case.case_id, asked, principal=supervisor, systems=systems)
        seconds, _ = _time(lambda: list_cases(engine, principal=supervisor))
        listed.append(seconds)
    database, length = engine.dialect.name, f"{num_open // 1000}k"
    return [
        Row(f"queue_next_{length}_{database}", _p95_milliseconds(taken), "ms, p95"),
        Row(f"queue_page_{length}_{database}", _p95_milliseconds(listed), "ms, p95"),
    ]


def _time(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def _p95_milliseconds(seconds: list[float]) -> float:
    return round(statistics.quantiles(seconds, n=20)[-1] * 1000, 1)


def _principal(engine: Engine, role: Role) -> Principal:
    principal = authenticate(engine, create_key(engine, role=role, name=f"{role}-{new_id()}"))
    assert principal is not None, "the key was made a moment ago"
    return principal


def _fill(engine: Engine, *, num_open: int, coder: Principal, own: Principal, other: Principal) -> None:
    pending: dict[Table, list[dict[str, Any]]] = {}
    for number, rows in enumerate(_rows(num_open, coder=coder, own=own, other=other), start=1):
        for table, added in rows.items():
            pending.setdefault(table, []).extend(added)
        if number % _ROWS_AT_ONCE == 0:
            _insert(engine, pending)
    _insert(engine, pending)
    with writing(engine) as connection:
        # What both databases do by themselves on a queue that grew day by day.
        connection.execute(text("ANALYZE"))


def _insert(engine: Engine, pending: dict[Table, list[dict[str, Any]]]) -> None:
    with writing(engine) as connection:
        for table, rows in pending.items():
            connection.execute(insert(table), rows)
    pending.clear()


def _rows(
    num_open: int, *, coder: Principal, own: Principal, other: Principal
) -> Iterator[dict[Table, list[dict[str, Any]]]]:
    """All rows of one suggestion after the other, in the order of their dependence."""
    begun = datetime.now(UTC) - timedelta(days=30)
    for number, record in enumerate(read_records(f"sample:{-(-num_open // CASES_A_SUGGESTION)}")):
        at = begun + timedelta(seconds=number)
        first = number * CASES_A_SUGGESTION
        owner = own if first < NUM_OWN else coder
        suggestion_id, decision_id = new_id(), new_id()
        request = SuggestionRequest(record_id=record.record_id, encounter=record.encounter, notes=record.notes)
        ids = sorted(new_id() for _ in range(min(CASES_A_SUGGESTION, num_open - first)))
        is_claimed = NUM_OWN <= first < NUM_OWN + NUM_CLAIMED
        claim = {"claimed_by": other.id, "claimed_until": at + timedelta(days=60)} if is_claimed else {}
        unclaimed = {"claimed_by": None, "claimed_until": None}
        yield {
            suggestions: [_suggestion(suggestion_id, request, principal=owner, at=at)],
            suggestion_contents: [
                {"suggestion_id": suggestion_id, "request": request.model_dump_json()}
                | {"suggestion": _answer(suggestion_id)}
            ],
            decisions: [_decision(decision_id, suggestion_id, principal=owner, at=at)],
            overrides: [
                {"id": id_, "decision_id": decision_id, "suggestion_id": suggestion_id, "principal_id": owner.id}
                | {"created_at": at, "action": "add", "system": "icd10cm", "code": "I10", "to_code": None}
                | {"reason": "missed-documentation"}
                for id_ in ids
            ],
            cases: [
                {"id": id_, "kind": "override", "suggestion_id": suggestion_id, "coder_id": owner.id, "priority": 20}
                | {"opened_at": at, "state": "open"}
                | (claim or unclaimed)
                for id_ in ids
            ],
        }


def _suggestion(
    suggestion_id: str, request: SuggestionRequest, *, principal: Principal, at: datetime
) -> dict[str, Any]:
    encounter = request.encounter
    return {
        "id": suggestion_id,
        "principal_id": principal.id,
        "stored_at": at,
        "record_id": request.record_id,
        "specialty": encounter.specialty,
        "setting": encounter.setting.value,
        "route": "assisted",
        "version_number": 1,
        "bundle_sha256": "0" * 64,
        "content_sha256": "0" * 64,
    }


def _answer(suggestion_id: str) -> str:
    return (
        '{"suggestion_id":"' + suggestion_id + '","version":{"name":"clinical-coder","number":1,"alias":null,'
        '"bundle_sha256":"0"},"route":{"decision":"assisted","rules":[],"record_confidence":0.5},"degraded":false,'
        '"codes":[],"trace_id":"0"}'
    )


def _decision(decision_id: str, suggestion_id: str, *, principal: Principal, at: datetime) -> dict[str, Any]:
    return {
        "id": decision_id,
        "suggestion_id": suggestion_id,
        "principal_id": principal.id,
        "decided_at": at,
        "outcome": "decided",
        "seconds_spent": 1.0,
        "idempotency_key": decision_id,
        "body_sha256": "0" * 64,
        "body": "{}",
    }
