"""All settings of ``chartloop serve``, read from YAML files that hold values only."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from clinical_coding.settings_file import load_settings
from serving.drift import DriftSettings
from serving.ehr.settings import EhrSettings
from serving.fallback.settings import FallbackSettings
from serving.gateway.settings import GatewaySettings
from serving.triton.config import Device, DynamicBatching, ModelConfig, TritonTls, clinical_coder_config

__all__ = ["ObservabilitySettings", "ServingSettings", "TritonSettings", "load_serving"]


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
    max_pass_tokens: Annotated[int, Field(ge=512)] = 8192
    """Tokens that are encoded together; a batch of more goes in several passes, the shortest notes first. On a GPU
    32768 keeps it busy."""
    tls: TritonTls | None = None
    """Of the channel to a Triton that runs elsewhere; in the clear when null. The embedded one is on loopback."""
    start_timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    """How long loading may take before the start is given up."""
    dynamic_batching: DynamicBatching = DynamicBatching()
    """How requests are gathered, and how many may wait."""

    def model_configuration(self) -> ModelConfig:
        """What a Triton is told of the model; its versions are named when they are served."""
        return clinical_coder_config(
            versions=(1,),
            device=self.device,
            gpus=self.gpus,
            max_batch_size=self.max_batch_size,
            max_num_threads=self.max_num_threads,
            max_pass_tokens=self.max_pass_tokens,
            dynamic_batching=self.dynamic_batching,
        )


class ObservabilitySettings(BaseModel):
    """What is told of the traffic, and to whom."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    otlp_endpoint: str | None = None
    """Base URL of the OTLP receiver over HTTP that traces are sent to, ``http://localhost:4318``; null sends none,
    unless the variables of OpenTelemetry name one."""
    sample_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Part of the traces that begin here which are recorded; a caller's own trace is recorded as the caller says."""
    drift: DriftSettings = DriftSettings()
    """How much traffic is compared with training."""


class ServingSettings(BaseModel):
    """Gateway, fallback and Triton."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    gateway: GatewaySettings = GatewaySettings()
    """Limits and times of the gateway."""
    fallback: FallbackSettings = FallbackSettings()
    """How the fallback worker runs."""
    triton: TritonSettings = TritonSettings()
    """How the embedded Triton runs."""
    observability: ObservabilitySettings = ObservabilitySettings()
    """What is told of the traffic, and to whom."""
    ehr: EhrSettings = EhrSettings()
    """Which EHRs may call, and how their resources are read."""


def load_serving(path: Path) -> ServingSettings:
    """Read the settings of gateway, fallback and Triton; what the file leaves out keeps its default.

    Raises:
        ValueError: The file is missing, is not YAML, or has a wrong or unknown field.
    """
    return load_settings(path, ServingSettings)
