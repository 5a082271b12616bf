"""Traces: where the time of a request went, from the gateway through Triton into the model (stages 6, 7).

Nothing is recorded until ``tracing`` is entered with a provider, and next to nothing is spent. Spans hold
ids, counts, routes and names of errors; what an error says may quote a note, so it is never recorded.
Whoever collects the spans is somebody else's: they leave by OTLP.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from serving.backends import Timings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["make_provider", "record_timings", "remote_parent", "span", "traceparent", "tracer", "tracing"]

_NAME: Final = "chartloop"
_NANOSECONDS: Final = 1_000_000_000
_SILENT: Final[Tracer] = NoOpTracer()
_current: Tracer = _SILENT


def make_provider(*, otlp_endpoint: str | None, sample_share: float) -> "TracerProvider | None":
    """Make what records and sends spans; None where nobody is named to send them to.

    The variables of OpenTelemetry are honoured, such as OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS,
    OTEL_EXPORTER_OTLP_CERTIFICATE, OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME and OTEL_TRACES_SAMPLER.

    Args:
        otlp_endpoint: Base URL of an OTLP receiver over HTTP, ``http://localhost:4318``.
        sample_share: Part of the traces that begin here which are recorded; callers decide for theirs.
    """
    if otlp_endpoint is None and not _named_by_environment():
        return None
    # Heavy, and needed only where traces are wanted.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    name = os.environ.get("OTEL_SERVICE_NAME", _NAME)
    # None leaves the choice to the environment.
    sampler = None if "OTEL_TRACES_SAMPLER" in os.environ else ParentBased(TraceIdRatioBased(sample_share))
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}), sampler=sampler, shutdown_on_exit=False)
    url = None if otlp_endpoint is None else f"{otlp_endpoint.rstrip('/')}/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    return provider


def _named_by_environment() -> bool:
    return any(os.environ.get(f"OTEL_EXPORTER_OTLP_{part}ENDPOINT") for part in ("", "TRACES_"))


@contextmanager
def tracing(provider: "TracerProvider | None") -> Iterator[None]:
    """Record spans until the block ends; what is left is sent then.

    Args:
        provider: Records them; nothing is recorded when None.
    """
    global _current
    if provider is None:
        yield
        return
    _current = provider.get_tracer(_NAME)
    try:
        yield
    finally:
        _current = _SILENT
        provider.shutdown()


def tracer() -> Tracer:
    """Whoever records spans now."""
    return _current


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Iterator[Span]:
    """Record how long a block takes, and the type of what it raises.

    Args:
        name: What is done; no ids, no text.
        kind: On which side of a call.
        parent: What it belongs to; the span around it when None.
        attributes: Ids, counts and choices.
    """
    with _current.start_as_current_span(
        # The message of an exception may quote a note.
        name,
        context=parent,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as entered:
        try:
            yield entered
        except Exception as error:
            entered.set_attribute("error.type", type(error).__name__)
            entered.set_status(StatusCode.ERROR)
            raise


def remote_parent(trace_id: str, parent_id: str, *, is_sampled: bool) -> Context:
    """The caller's span, of another process.

    Args:
        trace_id: 32 hexadecimal digits.
        parent_id: 16 hexadecimal digits.
        is_sampled: Whether the caller records it.
    """
    flags = TraceFlags(TraceFlags.SAMPLED if is_sampled else TraceFlags.DEFAULT)
    context = SpanContext(int(trace_id, 16), int(parent_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(context), Context())


def traceparent() -> dict[str, str]:
    """The header that lets another process continue the trace; empty where none is recorded (W3C Trace Context)."""
    context = get_current_span().get_span_context()
    if not context.is_valid or context.is_remote:
        return {}
    return {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"}


def record_timings(timings: Timings | None) -> None:
    """Record what the model's process told of an answer that has just come, as parts of the span around.

    Its clock is another one: the parts are laid end to end, the last of them ending now.

    Args:
        timings: What it told.
    """
    around = get_current_span()
    if timings is None or not around.is_recording():
        return
    batch = {
        "chartloop.batch_requests": timings.batch_requests,
        "chartloop.batch_tokens": timings.batch_tokens,
        "chartloop.padded_tokens": timings.padded_tokens,
    }
    parts: tuple[tuple[str, float, Mapping[str, Any]], ...] = (
        ("model.score", timings.scored_seconds, batch),
        ("model.read", timings.read_seconds, {}),
        ("model.queue", timings.queued_seconds, {}),
    )
    end = time.time_ns()
    for name, seconds, attributes in parts:
        begin = end - round(seconds * _NANOSECONDS)
        part = _current.start_span(name, start_time=begin, attributes=attributes)
        part.end(end_time=end)
        end = begin
