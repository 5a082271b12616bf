"""What the model counts for Triton's own metrics, which Prometheus reads there (stage 6)."""

from typing import Any

import triton_python_backend_utils as pb_utils

from training.model import ScoredPass

__all__ = ["ModelMetrics"]


class ModelMetrics:
    """The counters of one version."""

    def __init__(self, version: str) -> None:
        """Register them.

        Args:
            version: Its number, a label of each.
        """
        self._labels = {"version": version}
        self._families: list[Any] = []
        self.requests = self._counter("requests", "Requests that were scored.")
        self.passes = self._counter("passes", "Passes through the encoder, each of one or more requests.")
        self.dropped = self._counter("dropped", "Requests whose client had left before they were scored.")
        self.tokens = self._counter("tokens", "Tokens that were scored, padding left out.")
        self.computed_tokens = self._counter("computed_tokens", "Tokens that were computed, padding included.")
        self.scored_seconds = self._counter("scored_seconds", "Seconds of encoder and label attention.")

    def count(self, scored: ScoredPass) -> None:
        """Count a pass."""
        self.passes.increment(1)
        self.requests.increment(len(scored.documents))
        self.tokens.increment(scored.num_tokens)
        self.computed_tokens.increment(scored.num_computed_tokens)
        self.scored_seconds.increment(scored.scored_seconds)

    def _counter(self, name: str, description: str) -> Any:
        family = pb_utils.MetricFamily(
            name=f"chartloop_model_{name}_total", description=description, kind=pb_utils.MetricFamily.COUNTER
        )
        # A metric goes with its family.
        self._families.append(family)
        return family.Metric(labels=self._labels)
