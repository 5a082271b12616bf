"""One request, one trace: what the gateway records, and that none of it is text."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import Engine
from starlette.testclient import TestClient

from clinical_coding.records import Note
from serving.backends import Priority, RequestFailedError, ScoredCodes, Timings
from serving.drift import Drift, DriftSettings
from serving.gateway.active import ActiveVersion
from serving.tracing import tracing

URL = "/v1/suggestions"
CANARY = "Zebedee-Quartermain-19310412"
TRACE_ID, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with tracing(provider):
        yield exporter


def told(primary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the backend tell of its time, as Triton does."""
    score = primary.score

    async def score_and_tell(
        notes: Sequence[Note], *, timeout_seconds: float, priority: Priority = Priority.INTERACTIVE
    ) -> ScoredCodes:
        scored = await score(notes, timeout_seconds=timeout_seconds, priority=priority)
        timings = Timings(0.001, 0.002, 0.003, batch_requests=2, batch_tokens=90, padded_tokens=100, num_tokens=45)
        return ScoredCodes(scored.codes, timings)

    monkeypatch.setattr(primary, "score", score_and_tell)


def edges(spans: tuple[ReadableSpan, ...]) -> set[tuple[str, str | None]]:
    names = {one.context.span_id: one.name for one in spans}
    return {(one.name, names.get(one.parent.span_id) if one.parent else None) for one in spans}


def test_a_suggestion_is_one_tree_without_text(
    gateway: TestClient,
    primary: Any,
    request_body: dict[str, Any],
    exporter: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told(primary, monkeypatch)
    request_body["notes"][0]["text"] += CANARY
    request_body["patient_id"] = request_body["encounter"]["provider_id"] = CANARY
    response = gateway.post(URL, json=request_body, headers={"traceparent": f"00-{TRACE_ID}-{CALLER}-01"})
    spans = exporter.get_finished_spans()
    assert edges(spans) == {
        ("POST /v1/suggestions", None),
        ("score", "POST /v1/suggestions"),
        ("primary.score", "score"),
        ("model.queue", "primary.score"),
        ("model.read", "primary.score"),
        ("model.score", "primary.score"),
        ("build", "POST /v1/suggestions"),
        ("store", "POST /v1/suggestions"),
    }
    assert {f"{one.context.trace_id:032x}" for one in spans} == {TRACE_ID, response.json()["trace_id"]}
    server = next(one for one in spans if one.name == "POST /v1/suggestions")
    assert server.kind is SpanKind.SERVER
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == CALLER
    attributes = dict(server.attributes or {})
    assert attributes["http.route"] == URL
    assert attributes["http.response.status_code"] == 200
    assert attributes["chartloop.suggestion_id"] == response.json()["suggestion_id"]
    assert attributes["chartloop.principal_id"]
    written = "".join(one.to_json() for one in spans)
    assert CANARY not in written
    assert "hypertension" not in written


def test_without_a_caller_the_trace_begins_here(
    gateway: TestClient, request_body: dict[str, Any], exporter: InMemorySpanExporter
) -> None:
    first, second = (gateway.post(URL, json=request_body) for _ in range(2))
    roots = [one for one in exporter.get_finished_spans() if one.parent is None]
    assert [f"{one.context.trace_id:032x}" for one in roots] == [
        response.headers["x-trace-id"] for response in (first, second)
    ]
    assert first.headers["x-trace-id"] != second.headers["x-trace-id"]


def test_failures_are_told_by_kind_and_without_words(
    gateway: TestClient,
    primary: Any,
    fallback: Any,
    request_body: dict[str, Any],
    exporter: InMemorySpanExporter,
) -> None:
    primary.error = RequestFailedError(CANARY)
    fallback.error = RequestFailedError(CANARY)
    assert gateway.post(URL, json=request_body).status_code == 500
    spans = {one.name: one for one in exporter.get_finished_spans()}
    assert {"primary.score", "fallback.score"} <= spans.keys()
    server = spans["POST /v1/suggestions"]
    assert server.status.status_code is StatusCode.ERROR
    assert dict(server.attributes or {})["error.type"] == "scoring-failed"
    assert CANARY not in "".join(one.to_json() for one in spans.values())


def test_probes_leave_no_traces(gateway: TestClient, exporter: InMemorySpanExporter) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert gateway.get(path).status_code == 200
    assert exporter.get_finished_spans() == ()


def test_metrics_tell_of_batches_routes_and_problems(
    gateway: TestClient, primary: Any, request_body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told(primary, monkeypatch)
    headers = {"Idempotency-Key": "k1"}
    answer = gateway.post(URL, json=request_body, headers=headers).json()
    gateway.post(URL, json=request_body, headers=headers)
    gateway.post(URL, json={"notes": []})
    gateway.get("/readyz")
    text = gateway.get("/metrics").text
    for line in (
        "chartloop_replays_total 1.0",
        "chartloop_note_tokens_total 45.0",
        "chartloop_computed_tokens_total 50.0",
        'chartloop_batch_requests_bucket{le="2.0"} 1.0',
        'chartloop_problems_total{kind="invalid-request"} 1.0',
        f'chartloop_suggestions_total{{decision="{answer["route"]["decision"]}"}} 1.0',
        "chartloop_record_confidence_count 1.0",
        'chartloop_part_seconds_count{part="model"} 1.0',
        'chartloop_part_seconds_count{part="store"} 1.0',
        'chartloop_admitted{priority="interactive"} 0.0',
        "chartloop_ready 1.0",
    ):
        assert line in text
    for rule in answer["route"]["rules"]:
        assert f'chartloop_route_rules_total{{rule="{rule}"}} 1.0' in text


def test_drift_of_the_version_that_answers_is_told(
    make_app: Callable[..., TestClient],
    engine: Engine,
    key: str,
    active: ActiveVersion,
    primary: Any,
    request_body: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told(primary, monkeypatch)
    reference = {"note_tokens": {"0+": 0.9, "64+": 0.1}, "codes": {"icd10cm:I10": 0.5, "other": 0.5}}
    drift = Drift(reference, settings=DriftSettings(min_suggestions=2))
    unknown = active.current
    first = dataclasses.replace(unknown, drift=drift)
    active.switch(first)
    client = make_app(engine)
    client.headers["Authorization"] = f"Bearer {key}"

    def index(facet: str) -> float:
        text = client.get("/metrics").text
        [value] = re.findall(rf'chartloop_drift_psi{{facet="{facet}",number="3"}} (\S+)', text)
        return float(value)

    client.post(URL, json=request_body)
    assert math.isnan(index("input_length"))
    client.post(URL, json=request_body)
    # 45 tokens twice, so that 2.5 of 3 lie in the first bin.
    assert index("input_length") == pytest.approx(
        (2.5 / 3 - 0.9) * math.log(2.5 / 3 / 0.9) + (0.5 / 3 - 0.1) * math.log(0.5 / 3 / 0.1)
    )
    assert index("code_mix") > 0
    assert math.isnan(index("confidence")), "training told nothing of it"
    # A version under another alias goes on counting; of another one nothing is known.
    active.switch(first.renamed(first.name.model_copy(update={"alias": "champion"})))
    assert index("code_mix") > 0
    active.switch(unknown)
    assert "chartloop_drift_psi{" not in client.get("/metrics").text
