"""Reads a settings file: YAML that holds the values of one model, and nothing else."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from clinical_coding.artefact import describe_errors

__all__ = ["load_settings"]

Settings = TypeVar("Settings", bound=BaseModel)


def load_settings(path: Path, model: type[Settings]) -> Settings:
    """Read settings; what the file leaves out keeps its default, where it has one.

    Args:
        path: Of the file.
        model: What it holds.

    Raises:
        ValueError: The file is missing, is not YAML, or has a missing, wrong or unknown field.
    """
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"settings file {path} cannot be read ({error.strerror}); name another") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise ValueError(f"settings file {path} is not YAML{where}; see configs/ for examples") from None
    try:
        return model.model_validate({} if values is None else values)
    except ValidationError as error:
        raise ValueError(f"settings file {path}: {describe_errors(error)}") from None
