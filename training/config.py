"""What a training run is told: every value of a ``configs/train-*.yaml``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from clinical_coding.artefact import Artefact, describe_errors
from clinical_coding.bundle import Windowing
from clinical_coding.records import Split
from training.model.encoder import BaseModel, Lora

__all__ = ["TrainConfig", "load_config"]

Share = Annotated[float, Field(gt=0, lt=1)]


class Head(Artefact):
    """The label attention head."""

    num_sampled_labels: Annotated[int, Field(ge=8)]
    """Labels that a step scores; positives and their siblings are always among them."""
    evidence_weight: Annotated[float, Field(ge=0)]
    """Weight of the evidence loss, for codes whose supporting span is known."""


class Optimisation(Artefact):
    """AdamW on a one-cycle schedule (Smith and Topin 2018, arXiv:1708.07120)."""

    num_epochs: Annotated[int, Field(ge=1)]
    batch_records: Annotated[int, Field(ge=1)]
    """Records a step."""
    lora_learning_rate: Annotated[float, Field(gt=0)]
    head_learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_share: Share
    """Share of the steps in which the learning rate rises."""
    max_gradient_norm: Annotated[float, Field(gt=0)]
    patience_epochs: Annotated[int, Field(ge=1)]
    """Epochs without a better mean average precision before training stops."""
    precision: Literal["fp32", "bf16"]
    """Working precision of training; the published weights are float32."""
    max_tokens_a_pass: Annotated[int, Field(ge=1)]
    """Tokens that a process encodes at once; a batch of more is read in several passes, whose gradients add up.
    Where memory does not suffice, training goes on with half as many and says so."""
    activation_checkpointing: bool
    """Compute the layers' activations again for the backward pass instead of keeping them: slower, in less
    memory."""
    cache_lower_layers: bool
    """Keep the output of the frozen lower layers on disk instead of computing it in every epoch."""
    checkpoint_steps: Annotated[int, Field(ge=1)]
    """Steps between two checkpoints; a killed run goes on from the last."""


class TrainConfig(Artefact):
    """One training run."""

    records: str
    """Record spec; a relative path in it counts from the working directory."""
    splits: Annotated[tuple[Split, ...], Field(min_length=1)]
    """Splits to train on."""
    base_model: BaseModel
    windowing: Windowing
    lora: Lora
    head: Head
    optimisation: Optimisation
    calibration_share: Share
    """Share of the training patients held out for early stopping, calibration and the threshold."""
    refit: bool
    """Train once more on all training patients, for as many epochs as served the held-out ones best."""
    seed: int


def load_config(path: Path, **changes: Any) -> TrainConfig:
    """Read a training configuration.

    Args:
        path: A YAML file of values.
        **changes: Top-level fields that take the place of the file's.

    Raises:
        ValueError: The file is missing, is no YAML, or a field is wrong; the message names it.
    """
    if not path.is_file():
        raise ValueError(f"configuration {path} does not exist; those that come with chartloop are in configs/")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ValueError(f"configuration {path} is not valid YAML{where}; check indentation and colons") from None
    if not isinstance(values, dict):
        raise ValueError(f"configuration {path} holds no fields; compare it with configs/train-sample.yaml")
    try:
        return TrainConfig.model_validate(values | changes)
    except ValidationError as error:
        raise ValueError(f"configuration {path}: {describe_errors(error)}") from None
