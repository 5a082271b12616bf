from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from serving.backends import Timings
from serving.tracing import make_provider, record_timings, span, traceparent, tracing


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """What is recorded while the test runs."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with tracing(provider):
        yield exporter


def tree(spans: tuple[ReadableSpan, ...]) -> dict[str, str | None]:
    """Each span's name, and its parent's."""
    names = {one.context.span_id: one.name for one in spans}
    return {one.name: names.get(one.parent.span_id) if one.parent else None for one in spans}


def test_parts_of_the_model_end_where_the_answer_came(exporter: InMemorySpanExporter) -> None:
    timings = Timings(1.0, 2.0, 4.0, batch_requests=3, batch_tokens=90, padded_tokens=100)
    with span("primary.score", kind=SpanKind.CLIENT):
        record_timings(timings)
        record_timings(None)
    spans = {one.name: one for one in exporter.get_finished_spans()}
    assert tree(exporter.get_finished_spans()) == {
        "model.queue": "primary.score",
        "model.read": "primary.score",
        "model.score": "primary.score",
        "primary.score": None,
    }
    lasted = {name: (one.end_time - one.start_time) / 1e9 for name, one in spans.items() if one.start_time}
    assert (lasted["model.queue"], lasted["model.read"], lasted["model.score"]) == pytest.approx((1.0, 2.0, 4.0))
    assert spans["model.queue"].end_time == spans["model.read"].start_time
    assert spans["model.read"].end_time == spans["model.score"].start_time
    assert dict(spans["model.score"].attributes or {}) == {
        "chartloop.batch_requests": 3,
        "chartloop.batch_tokens": 90,
        "chartloop.padded_tokens": 100,
    }


def test_an_error_leaves_its_type_and_not_its_words(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="Zebedee"), span("build"):
        raise ValueError("Zebedee has hypertension")
    [one] = exporter.get_finished_spans()
    assert one.status.status_code is StatusCode.ERROR
    assert dict(one.attributes or {}) == {"error.type": "ValueError"}
    assert "Zebedee" not in one.to_json()


def test_the_trace_goes_on_in_other_processes(exporter: InMemorySpanExporter) -> None:
    assert traceparent() == {}
    with span("primary.score") as around:
        context = around.get_span_context()
        header = traceparent()["traceparent"]
        assert header.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")
        assert int(header[-2:], 16) & 1, "sampled"


def test_nothing_is_recorded_unless_somebody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert make_provider(otlp_endpoint=None, sample_share=1.0) is None
    with tracing(None), span("score") as nothing:
        assert not nothing.is_recording()
        assert traceparent() == {}


def test_the_share_and_the_variables_of_opentelemetry_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    provider = make_provider(otlp_endpoint=None, sample_share=0.0)
    assert provider is not None
    with tracing(provider), span("score") as one:
        assert not one.is_recording()
    attributes = provider.resource.attributes
    assert (attributes["service.name"], attributes["deployment.environment.name"]) == ("chartloop", "test")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    provider = make_provider(otlp_endpoint="http://127.0.0.1:9/", sample_share=0.0)
    assert provider is not None
    assert provider.sampler.get_description() == "AlwaysOnSampler"
    provider.shutdown()
