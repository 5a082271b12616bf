"""What the gateway counts, for Prometheus. Labels are routes, statuses and choices; never ids or text."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.responses import Response

from clinical_coding.suggestions import VersionName

__all__ = ["Metrics"]

# Seconds. The aim is a median under 150 ms; the deadline is 10 s.
_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The gateway's instruments, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("chartloop_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self.latency = Histogram(
            "chartloop_request_seconds", "Time to answer.", ["route"], buckets=_BUCKETS, registry=self.registry
        )
        self.in_flight = Gauge("chartloop_requests_in_flight", "Requests not answered yet.", registry=self.registry)
        self.suggestions = Counter(
            "chartloop_suggestions", "Suggestions by the route they take.", ["decision"], registry=self.registry
        )
        self.findings = Counter(
            "chartloop_findings", "Findings on suggested codes.", ["severity"], registry=self.registry
        )
        self.queries = Counter("chartloop_queries", "Physician queries drafted.", registry=self.registry)
        self.degraded = Counter("chartloop_degraded", "Suggestions that the fallback answered.", registry=self.registry)

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read when Prometheus asks."""
        Gauge(f"chartloop_{name}", description, registry=self.registry).set_function(value)

    def watch_version(self, name: Callable[[], VersionName]) -> None:
        """Tell which version answers, as labels of a gauge that is always 1."""
        self.registry.register(_VersionInfo(name))

    def response(self) -> Response:
        """Write all instruments in the text format."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


class _VersionInfo(Collector):
    def __init__(self, name: Callable[[], VersionName]) -> None:
        self._name = name

    def collect(self) -> Iterable[Metric]:
        name = self._name()
        info = GaugeMetricFamily("chartloop_version_info", "The version that answers.", labels=["number", "bundle"])
        info.add_metric([str(name.number or ""), name.bundle_sha256[:12]], 1)
        return [info]
