"""All settings of ``chartloop serve``, read from YAML files that hold values only."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from clinical_coding.artefact import describe_errors
from serving.fallback.client import FallbackSettings
from serving.gateway.routing import RoutingSettings
from serving.gateway.settings import GatewaySettings

__all__ = ["ServingSettings", "load_routing", "load_serving"]

Settings = TypeVar("Settings", bound=BaseModel)


class ServingSettings(BaseModel):
    """Gateway and fallback."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    gateway: GatewaySettings = GatewaySettings()
    """Limits and times of the gateway."""
    fallback: FallbackSettings = FallbackSettings()
    """How the fallback worker runs."""


def load_serving(path: Path) -> ServingSettings:
    """Read the settings of gateway and fallback; what the file leaves out keeps its default.

    Raises:
        ValueError: The file is missing, is not YAML, or has a wrong or unknown field.
    """
    return _load(path, ServingSettings)


def load_routing(path: Path) -> RoutingSettings:
    """Read the thresholds of the route; what the file leaves out keeps its default.

    Raises:
        ValueError: The file is missing, is not YAML, or has a wrong or unknown field.
    """
    return _load(path, RoutingSettings)


def _load(path: Path, model: type[Settings]) -> Settings:
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"settings file {path} cannot be read ({error.strerror}); name another") from None
    except yaml.YAMLError:
        raise ValueError(f"settings file {path} is not YAML; see configs/ for examples") from None
    try:
        return model.model_validate({} if values is None else values)
    except ValidationError as error:
        raise ValueError(f"settings file {path}: {describe_errors(error)}") from None
