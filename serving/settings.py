"""All settings of ``chartloop serve``, read from YAML files that hold values only."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from clinical_coding.settings_file import load_settings
from serving.fallback.client import FallbackSettings
from serving.gateway.settings import GatewaySettings
from serving.triton.config import Device, DynamicBatching

__all__ = ["ServingSettings", "TritonSettings", "load_serving"]


class TritonSettings(BaseModel):
    """How the embedded Triton runs the model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    device: Device = "cpu"
    """Where the model runs: ``cpu`` or ``gpu``."""
    gpus: tuple[int, ...] = ()
    """GPU numbers; every visible one when empty."""
    max_batch_size: Annotated[int, Field(ge=1)] = 16
    """Requests in one forward."""
    max_num_threads: Annotated[int, Field(ge=1)] = 16
    """Most CPU threads of the forward; never more than there are cores."""
    start_timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    """How long loading may take before the start is given up."""
    dynamic_batching: DynamicBatching = DynamicBatching()
    """How requests are gathered, and how many may wait."""


class ServingSettings(BaseModel):
    """Gateway, fallback and Triton."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    gateway: GatewaySettings = GatewaySettings()
    """Limits and times of the gateway."""
    fallback: FallbackSettings = FallbackSettings()
    """How the fallback worker runs."""
    triton: TritonSettings = TritonSettings()
    """How the embedded Triton runs."""


def load_serving(path: Path) -> ServingSettings:
    """Read the settings of gateway, fallback and Triton; what the file leaves out keeps its default.

    Raises:
        ValueError: The file is missing, is not YAML, or has a wrong or unknown field.
    """
    return load_settings(path, ServingSettings)
