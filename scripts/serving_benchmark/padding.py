"""Tokens that were computed for nothing: from the counters that the model keeps in its Triton."""

from dataclasses import dataclass
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Computed", "computed_in", "read_computed"]

_READ: Final = "chartloop_model_tokens"
_COMPUTED: Final = "chartloop_model_computed_tokens"


@dataclass(frozen=True, slots=True)
class Computed:
    """What the model has computed since it was loaded."""

    num_tokens: float
    """Of notes."""
    num_computed_tokens: float
    """With what was padded."""

    def waste_since(self, before: "Computed") -> float:
        """Share of the tokens computed since another reading that were padding."""
        computed = self.num_computed_tokens - before.num_computed_tokens
        return 1 - (self.num_tokens - before.num_tokens) / computed if computed else 0.0


def read_computed(metrics_url: str) -> Computed:
    """Read the counters.

    Raises:
        ValueError: This Triton does not have them.
    """
    return computed_in(httpx.get(metrics_url, trust_env=False).text)


def computed_in(exposition: str) -> Computed:
    """The counters in what Prometheus would read, summed over versions.

    Raises:
        ValueError: They are not there.
    """
    families = text_string_to_metric_families(exposition)
    values = {family.name: sum(sample.value for sample in family.samples) for family in families}
    try:
        return Computed(values[_READ], values[_COMPUTED])
    except KeyError as error:
        raise ValueError(f"Triton has no counter {error.args[0]}_total; is another model loaded there?") from None
