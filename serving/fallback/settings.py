"""How the fallback worker runs."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FallbackSettings"]


class FallbackSettings(BaseModel):
    """How the fallback worker runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mode: Literal["warm", "cold", "off"] = "warm"
    """Loaded from the start; at the first need (seconds late, no memory until then); or never."""
    max_batch_size: Annotated[int, Field(ge=1)] = 8
    """Requests in one forward."""
    max_batch_characters: Annotated[int, Field(ge=1)] = 40_000
    """Characters of notes in one forward; a single request may exceed it."""
    max_waiting: Annotated[int, Field(ge=1)] = 32
    """Requests that may wait for the worker, bulk ones half as many; one more is refused at once."""
    num_threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads of the forward; null leaves the choice to torch."""
    restart_delay_seconds: Annotated[float, Field(gt=0)] = 0.5
    """Pause before the worker is started again; doubles with each death without a warm start between."""
    max_restart_delay_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Upper bound of that pause."""
