"""What the gateway counts, for Prometheus. Labels are routes, statuses, choices and rules; never ids or text."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.responses import Response

from clinical_coding.suggestions import Latency, Suggestion, VersionName
from serving.backends import Timings
from serving.drift import Drift

__all__ = ["Metrics"]

# Seconds. The aim is a median under 150 ms; the deadline is 10 s.
_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PART_BUCKETS: Final = (0.001, 0.0025, 0.005, *_BUCKETS)
# Finest where routes are decided.
_CONFIDENCE_BUCKETS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.0)
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64)
_TOKEN_BUCKETS: Final = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


class Metrics:
    """The gateway's instruments, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests answered.", "route", "status")
        self.problems = self._counter("problems", "Requests answered with a problem, by its kind.", "kind")
        self.latency = self._histogram("request_seconds", "Time to answer.", _BUCKETS, "route")
        self.in_flight = Gauge("chartloop_requests_in_flight", "Requests not answered yet.", registry=self.registry)
        self.ready = Gauge("chartloop_ready", "1 when the last look at /readyz said ready.", registry=self.registry)
        self.ready.set(math.nan)  # Until somebody looked.
        self.replays = self._counter("replays", "Suggestions answered again under their Idempotency-Key.")
        self.suggestions = self._counter("suggestions", "Suggestions by the route they take.", "decision")
        self.rules = self._counter("route_rules", "Rules that decided on routes, each time one fired.", "rule")
        self.findings = self._counter("findings", "Findings on suggested codes.", "severity")
        self.queries = self._counter("queries", "Physician queries drafted.")
        self.degraded = self._counter("degraded", "Suggestions that the fallback answered.")
        self.record_confidence = self._histogram(
            "record_confidence", "Confidence in records as a whole.", _CONFIDENCE_BUCKETS
        )
        self.code_confidence = self._histogram("code_confidence", "Confidence of suggested codes.", _CONFIDENCE_BUCKETS)
        self.parts = self._histogram("part_seconds", "Parts of the time to suggest.", _PART_BUCKETS, "part")
        self.note_tokens = self._counter("note_tokens", "Tokens of the notes that were scored.")
        self.computed_tokens = self._counter(
            "computed_tokens", "Tokens that the model computed for them, padding included, as their batches tell."
        )
        self.batch_requests = self._histogram(
            "batch_requests", "Requests in the batch of a request, itself included.", _BATCH_BUCKETS
        )
        self.batch_tokens = self._histogram(
            "batch_tokens", "Tokens in the batch of a request, without padding.", _TOKEN_BUCKETS
        )

    def count_suggestion(self, suggestion: Suggestion, *, store_seconds: float | None = None) -> None:
        """Count a suggestion among those that were answered.

        Args:
            suggestion: With every code.
            store_seconds: How long storing took, where that was measured.
        """
        self.suggestions.labels(decision=suggestion.route.decision.value).inc()
        for rule in suggestion.route.rules:
            self.rules.labels(rule=rule).inc()
        for finding in suggestion.findings:
            self.findings.labels(severity=finding.severity.value).inc()
        self.queries.inc(len(suggestion.queries))
        self.degraded.inc(suggestion.degraded)
        self.record_confidence.observe(suggestion.route.record_confidence)
        for code in suggestion.codes:
            self.code_confidence.observe(code.confidence)
        if suggestion.latency is not None:
            for part, seconds in _parts(suggestion.latency).items():
                self.parts.labels(part=part).observe(seconds)
        if store_seconds is not None:
            self.parts.labels(part="store").observe(store_seconds)

    def count_batch(self, timings: Timings | None) -> None:
        """Count what the model computed for one request: its share of the batch that it was in."""
        if timings is None or not timings.batch_requests:
            return
        self.batch_requests.observe(timings.batch_requests)
        self.batch_tokens.observe(timings.batch_tokens)
        if timings.num_tokens and timings.batch_tokens:
            self.note_tokens.inc(timings.num_tokens)
            # Each request of a batch tells of the whole batch, so its own part is reckoned.
            self.computed_tokens.inc(timings.num_tokens * timings.padded_tokens / timings.batch_tokens)

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read when Prometheus asks."""
        Gauge(f"chartloop_{name}", description, registry=self.registry).set_function(value)

    def watch_each(self, name: str, description: str, *, label: str, values: Mapping[str, Callable[[], float]]) -> None:
        """Add a gauge with one label, whose values are read when Prometheus asks."""
        gauge = Gauge(f"chartloop_{name}", description, [label], registry=self.registry)
        for choice, value in values.items():
            gauge.labels(choice).set_function(value)

    def watch_version(self, name: Callable[[], VersionName]) -> None:
        """Tell which version answers, as labels of a gauge that is always 1."""
        self.registry.register(_VersionInfo(name))

    def watch_drift(self, drift: Callable[[], tuple[VersionName, Drift | None]]) -> None:
        """Tell how far the traffic is from what the version that answers was trained on."""
        self.registry.register(_DriftIndex(drift))

    def response(self) -> Response:
        """Write all instruments in the text format."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"chartloop_{name}", description, labels, registry=self.registry)

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"chartloop_{name}", description, labels, buckets=buckets, registry=self.registry)


def _parts(latency: Latency) -> dict[str, float]:
    """Seconds by part."""
    return {
        "admitted": latency.admitted_ms / 1000,
        "queued": latency.queued_ms / 1000,
        "model": latency.model_ms / 1000,
        "review": latency.review_ms / 1000,
    }


class _VersionInfo(Collector):
    def __init__(self, name: Callable[[], VersionName]) -> None:
        self._name = name

    def collect(self) -> Iterable[Metric]:
        name = self._name()
        info = GaugeMetricFamily("chartloop_version_info", "The version that answers.", labels=["number", "bundle"])
        info.add_metric([str(name.number or ""), name.bundle_sha256[:12]], 1)
        return [info]


class _DriftIndex(Collector):
    def __init__(self, drift: Callable[[], tuple[VersionName, Drift | None]]) -> None:
        self._drift = drift

    def collect(self) -> Iterable[Metric]:
        name, drift = self._drift()
        index = GaugeMetricFamily(
            "chartloop_drift_psi",
            "Population stability index of late traffic against training; not a number while too little was seen.",
            labels=["facet", "number"],
        )
        if drift is not None:
            for facet, value in drift.values().items():
                index.add_metric([facet.value, str(name.number or "")], value)
        return [index]
