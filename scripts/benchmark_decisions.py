"""Measure how long coders wait until a decision is durable, and how fast decisions are imported.

A part of ``benchmark_feedback``. Eight clients decide at once, each as soon as the one before is
answered: in threads of one process, and over HTTP, where a server of its own process has the
decision endpoints alone. Every third decision overrides one code.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import httpx
from sqlalchemy import Connection, Engine

from clinical_coding.artefact import new_id
from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import CodeAction, CodeDecision, Decision
from clinical_coding.readers import read_records
from clinical_coding.readers.rejects import Rejects
from clinical_coding.records import CodedRecord
from clinical_coding.suggestions import (
    Route,
    RouteDecision,
    SuggestedCode,
    Suggestion,
    SuggestionRequest,
    VersionName,
)
from feedback.decisions import record_decision
from feedback.importing import import_decisions
from feedback.settings import FeedbackSettings, ReasonCodes
from ledger.group_commit import write
from ledger.principals import Principal
from ledger.suggestions import store
from scripts.benchmark_databases import make_principal
from scripts.benchmark_results import Row
from scripts.options import CONFIGS

__all__ = ["decision_speed", "import_speed"]

NUM_CLIENTS: Final = 8
NUM_RECORDS: Final = 50
_WARM_UP: Final = 80
_ROWS_AT_ONCE: Final = 200
_SERVER: Final = """
import socket, sys
import uvicorn
from fastapi import FastAPI, Request
from pathlib import Path
from clinical_coding.code_systems import CodeSystems
from feedback.decision_routes import decision_router
from feedback.settings import load_feedback, load_reasons
from ledger.engine import open_engine
from ledger.principals import authenticate
url, configs = sys.argv[1], Path(sys.argv[2])
engine, known = open_engine(url), {}
def acting(request: Request):
    key = request.headers["authorization"].removeprefix("Bearer ")
    if key not in known:
        known[key] = authenticate(engine, key)
    return known[key]
systems = CodeSystems.embedded()
systems.icd10cm()
app = FastAPI()
settings, reasons = load_feedback(configs / "feedback.yaml"), load_reasons(configs / "reasons.yaml")
app.include_router(decision_router(engine, acting=acting, settings=settings, reasons=reasons, systems=systems))
server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
listener = server.config.bind_socket()
# Connections inherit it; asyncio sets it only where the listener names its protocol, which uvicorn's does not.
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(listener.getsockname()[1], flush=True)
server.run(sockets=[listener])
"""
Ask = Callable[[int, Decision], object]


def decision_speed(
    engine: Engine, *, num_decisions: int, settings: FeedbackSettings, reasons: ReasonCodes
) -> list[Row]:
    """Decide suggestions from eight clients at once.

    Args:
        engine: An empty, migrated database.
        num_decisions: How many, in the process and over HTTP each.
        settings: Shares drawn for audit.
        reasons: The reason codes.
    """
    systems = CodeSystems.embedded()
    systems.icd10cm()
    made = [make_principal(engine, role="coder", name=f"coder {number}") for number in range(NUM_CLIENTS)]

    def record(client: int, decision: Decision) -> None:
        who = made[client][0]
        record_decision(
            engine,
            decision,
            idempotency_key=new_id(),
            principal=who,
            settings=settings,
            reasons=reasons,
            systems=systems,
        )

    database = engine.dialect.name
    decisions = _decisions(engine, count=_WARM_UP + num_decisions, principal=made[0][0])
    rows = _rows(f"decision_write_{{}}_{database}", _ask_all(record, decisions))
    decisions = _decisions(engine, count=_WARM_UP + num_decisions, principal=made[0][0])
    with _server(engine) as url, httpx.Client(base_url=url, limits=httpx.Limits(max_connections=NUM_CLIENTS)) as http:

        def send(client: int, decision: Decision) -> None:
            headers = {
                "Authorization": f"Bearer {made[client][1]}",
                "Idempotency-Key": new_id(),
                "Content-Type": "application/json",
            }
            answer = http.post("/v1/decisions", content=decision.model_dump_json(), headers=headers)
            assert answer.status_code == 201, "a decision was refused; this measures stored ones"

        rows += _rows(f"decision_http_{{}}_{database}", _ask_all(send, decisions))
    return rows


def import_speed(
    engine: Engine, *, folder: Path, num_lines: int, settings: FeedbackSettings, reasons: ReasonCodes
) -> list[Row]:
    """Import a file of decisions, and import it again, as after a break.

    Args:
        engine: An empty, migrated database.
        folder: Where the file may lie.
        num_lines: Lines of the file.
        settings: Shares drawn for audit.
        reasons: The reason codes.
    """
    systems = CodeSystems.embedded()
    systems.icd10cm()
    principal, _ = make_principal(engine, role="service", name="billing")
    path = folder / "decisions.jsonl"
    with path.open("w") as stream:
        for decision in _decisions(engine, count=num_lines, principal=principal):
            json.dump({"idempotency_key": new_id(), "decision": decision.model_dump(mode="json")}, stream)
            stream.write("\n")
    rows = []
    for metric in ("import_lines_a_second", "import_again_lines_a_second"):
        with Rejects(None, max_rejects=0) as rejects:
            started = time.perf_counter()
            import_decisions(
                engine,
                path,
                principal=principal,
                settings=settings,
                reasons=reasons,
                systems=systems,
                rejects=rejects,
                advance=lambda _: None,
            )
        speed = num_lines / (time.perf_counter() - started)
        rows.append(Row(f"{metric}_{engine.dialect.name}", round(speed), "1/s"))
    return rows


def _ask_all(ask: Ask, decisions: Sequence[Decision]) -> tuple[list[float], float]:
    """Let each client ask in its turn; gives the seconds of each answer, and of all together, after a warm-up."""

    def client(number: int, first: int, last: int) -> list[float]:
        seconds = []
        for decision in decisions[first + number : last : NUM_CLIENTS]:
            started = time.perf_counter()
            ask(number, decision)
            seconds.append(time.perf_counter() - started)
        return seconds

    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        list(pool.map(lambda number: client(number, 0, _WARM_UP), range(NUM_CLIENTS)))
        started = time.perf_counter()
        found = list(pool.map(lambda number: client(number, _WARM_UP, len(decisions)), range(NUM_CLIENTS)))
        whole = time.perf_counter() - started
    return [seconds for one in found for seconds in one], whole


def _rows(metric: str, measured: tuple[list[float], float]) -> list[Row]:
    seconds, whole = measured
    percentiles = statistics.quantiles(seconds, n=100)
    return [
        *(
            Row(metric.format(f"p{percentile}"), round(1000 * percentiles[percentile - 1], 2), "ms")
            for percentile in (50, 95, 99)
        ),
        Row(metric.format("a_second"), round(len(seconds) / whole), "1/s"),
    ]


@contextmanager
def _server(engine: Engine) -> Iterator[str]:
    url = engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", _SERVER, url, str(CONFIGS)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.terminate()
        server.wait(timeout=60)


def _decisions(engine: Engine, *, count: int, principal: Principal) -> list[Decision]:
    """Store suggestions of the codes that sample records carry, and make a decision on each."""
    records = list(islice(read_records(f"sample:{NUM_RECORDS}"), NUM_RECORDS))
    made = [_suggestion(records[number % NUM_RECORDS]) for number in range(count)]
    for first in range(0, count, _ROWS_AT_ONCE):
        page = made[first : first + _ROWS_AT_ONCE]
        write(engine, partial(_store_page, page=page, principal=principal))
    return [_decision(suggestion, number=number) for number, (_, suggestion) in enumerate(made)]


def _store_page(
    connection: Connection, *, page: Sequence[tuple[SuggestionRequest, Suggestion]], principal: Principal
) -> None:
    for request, suggestion in page:
        store(connection, request, suggestion, principal=principal)


def _suggestion(record: CodedRecord) -> tuple[SuggestionRequest, Suggestion]:
    request = SuggestionRequest(
        record_id=record.record_id, patient_id=record.patient_id, encounter=record.encounter, notes=record.notes
    )
    codes = tuple(
        SuggestedCode(
            system=code.system,
            code=code.code,
            description=None,
            confidence=0.9,
            rank=rank,
            evidence=(),
            alternatives=(),
        )
        for rank, code in enumerate(record.codes, start=1)
    )
    return request, Suggestion(
        suggestion_id=new_id(),
        version=VersionName(name="benchmark", number=1, alias=None, bundle_sha256="0" * 64),
        route=Route(decision=RouteDecision.ASSISTED, rules=(), record_confidence=0.9),
        degraded=False,
        codes=codes,
        trace_id="0" * 32,
    )


def _decision(suggestion: Suggestion, *, number: int) -> Decision:
    first = suggestion.codes[0]
    rejected = CodeDecision(action=CodeAction.REJECT, system=first.system, code=first.code, reason="not-documented")
    return Decision(
        suggestion_id=suggestion.suggestion_id, codes=(rejected,) if number % 3 == 0 else (), seconds_spent=30
    )
