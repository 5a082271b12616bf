"""What Triton is told of a model: the part of config.pbtxt that chartloop uses, typed (stage 6).

The names of the tensors and of the bundle's folder stand here once, for the model, its publisher
and its client. This module knows nothing of bundles, processes or transport.

Source: Triton's ModelConfig protocol buffer (model_config.proto).
"""

import json
import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "BULK",
    "BUNDLE_FOLDER",
    "BUNDLE_SHA256",
    "CODE_INDEX",
    "CONFIDENCE",
    "EVIDENCE",
    "MAX_NUM_THREADS",
    "MAX_PASS_TOKENS",
    "MODEL_NAME",
    "NOTES",
    "SCORING_FAILED",
    "SUGGESTED",
    "TIMINGS",
    "DataType",
    "Device",
    "DynamicBatching",
    "InstanceGroup",
    "ModelConfig",
    "ModelTensor",
    "TritonTls",
    "clinical_coder_config",
]

MODEL_NAME: Final = "clinical-coder"
BUNDLE_FOLDER: Final = "bundle"
NOTES: Final = "NOTES"
CODE_INDEX: Final = "CODE_INDEX"
CONFIDENCE: Final = "CONFIDENCE"
SUGGESTED: Final = "SUGGESTED"
EVIDENCE: Final = "EVIDENCE"
BUNDLE_SHA256: Final = "BUNDLE_SHA256"
TIMINGS: Final = "TIMINGS"
MAX_NUM_THREADS: Final = "max_num_threads"
MAX_PASS_TOKENS: Final = "max_pass_tokens"
# A request's parameter, beside Triton's own priority, which the model is not shown.
BULK: Final = "bulk"
# Of the queue: whose requests go first, and by default nobody's go later.
NUM_PRIORITIES: Final = 2
# Tells a model that fails at one request from a Triton that cannot answer any.
SCORING_FAILED: Final = "scoring failed; the server's log says where"

Device = Literal["cpu", "gpu"]
# Names are written between quotes into the text format, so they hold nothing to escape.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]


class TritonTls(BaseModel):
    """How the channel to a Triton is encrypted: who is trusted there, and who we are."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    root_certificates: Path
    """Who must have signed the server's certificate (PEM)."""
    certificate: Path | None = None
    """Ours, where the server asks for one (PEM)."""
    key: Path | None = None
    """Of our certificate (PEM)."""
    server_name: str | None = None
    """What the server's certificate names, where that is not the host of the URL."""

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; give both or neither")
        return self

    def check(self) -> None:
        """See that the files can be read.

        Raises:
            ValueError: One cannot; it is named.
        """
        for file in (self.root_certificates, self.certificate, self.key):
            if file is not None and not (file.is_file() and os.access(file, os.R_OK)):
                raise ValueError(f"TLS file {file} cannot be read; name a PEM file that this user may read")


class DataType(StrEnum):
    """Triton's tensor types, as config.pbtxt spells them."""

    STRING = "TYPE_STRING"
    BOOL = "TYPE_BOOL"
    UINT8 = "TYPE_UINT8"
    INT32 = "TYPE_INT32"
    FP32 = "TYPE_FP32"


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelTensor(_Config):
    """One input or output, without its batch dimension."""

    name: Name
    data_type: DataType
    dims: Annotated[tuple[Annotated[int, Field(ge=-1)], ...], Field(min_length=1)]
    """Elements along each dimension; -1 where it varies from request to request."""

    def lines(self) -> Iterator[str]:
        """The fields in protobuf text format."""
        yield f'name: "{self.name}"'
        yield f"data_type: {self.data_type}"
        yield f"dims: {json.dumps(self.dims)}"


class InstanceGroup(_Config):
    """Where instances of the model run, and how many."""

    device: Device
    count: Annotated[int, Field(ge=1)] = 1
    """Instances per GPU, or in all on the CPU."""
    gpus: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Device numbers; every visible GPU when empty."""

    @model_validator(mode="after")
    def _gpus_on_gpu(self) -> Self:
        if self.gpus and self.device == "cpu":
            raise ValueError(f"gpus {self.gpus} must be empty for device 'cpu'; leave them out or choose 'gpu'")
        return self

    def lines(self) -> Iterator[str]:
        """The fields in protobuf text format."""
        yield f"kind: KIND_{self.device.upper()}"
        yield f"count: {self.count}"
        if self.gpus:
            yield f"gpus: {json.dumps(self.gpus)}"


class DynamicBatching(_Config):
    """How single requests are gathered into one forward."""

    max_queue_delay_microseconds: Annotated[int, Field(ge=0)] = 2_000
    """How long the first request of a batch waits for company."""
    max_queue_size: Annotated[int, Field(ge=1)] = 64
    """Interactive requests that may wait; one more is refused at once."""
    max_bulk_queue_size: Annotated[int, Field(ge=1)] = 32
    """The same for bulk requests, which wait until no interactive one does."""
    preferred_batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Sizes that are sent without further delay; none, where no size is faster than its neighbours."""

    def lines(self) -> Iterator[str]:
        """The fields in protobuf text format."""
        if self.preferred_batch_sizes:
            yield f"preferred_batch_size: {json.dumps(self.preferred_batch_sizes)}"
        yield f"max_queue_delay_microseconds: {self.max_queue_delay_microseconds}"
        yield f"priority_levels: {NUM_PRIORITIES}"
        yield "default_priority_level: 1"
        yield f"default_queue_policy {{ max_queue_size: {self.max_queue_size} }}"
        yield f"priority_queue_policy {{ key: 2 value {{ max_queue_size: {self.max_bulk_queue_size} }} }}"


class ModelConfig(_Config):
    """config.pbtxt of one Python-backend model."""

    name: Name
    max_batch_size: Annotated[int, Field(ge=1)]
    """Requests in one forward."""
    inputs: Annotated[tuple[ModelTensor, ...], Field(min_length=1)]
    outputs: Annotated[tuple[ModelTensor, ...], Field(min_length=1)]
    instance_group: InstanceGroup
    dynamic_batching: DynamicBatching
    versions: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
    """Version numbers that are served at once."""
    parameters: Mapping[Name, Name] = {}
    """What the model reads in ``initialize()``."""

    @model_validator(mode="after")
    def _batches_fit(self) -> Self:
        largest = max(self.dynamic_batching.preferred_batch_sizes, default=1)
        if largest > self.max_batch_size:
            raise ValueError(
                f"preferred_batch_sizes must not exceed max_batch_size {self.max_batch_size}; {largest} does"
            )
        return self

    def render(self) -> str:
        """Write the configuration in protobuf text format."""
        lines = [f'name: "{self.name}"', 'backend: "python"', f"max_batch_size: {self.max_batch_size}"]
        lines += [line for tensor in self.inputs for line in _block("input", tensor.lines())]
        lines += [line for tensor in self.outputs for line in _block("output", tensor.lines())]
        lines += _block("instance_group", self.instance_group.lines())
        lines += _block("dynamic_batching", self.dynamic_batching.lines())
        lines.append(f"version_policy {{ specific {{ versions: {json.dumps(self.versions)} }} }}")
        lines += [
            f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
            for key, value in sorted(self.parameters.items())
        ]
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """Write the same configuration as JSON, which is what a running Triton takes.

        Equal to ``render`` field for field: Triton reloads every version where it sees another difference
        than that of the served versions.
        """
        batching = self.dynamic_batching
        return json.dumps(
            {
                "name": self.name,
                "backend": "python",
                "max_batch_size": self.max_batch_size,
                "input": [tensor.model_dump(mode="json") for tensor in self.inputs],
                "output": [tensor.model_dump(mode="json") for tensor in self.outputs],
                "instance_group": [
                    {
                        "kind": f"KIND_{self.instance_group.device.upper()}",
                        "count": self.instance_group.count,
                        "gpus": self.instance_group.gpus,
                    }
                ],
                "dynamic_batching": {
                    "preferred_batch_size": batching.preferred_batch_sizes,
                    "max_queue_delay_microseconds": batching.max_queue_delay_microseconds,
                    "priority_levels": NUM_PRIORITIES,
                    "default_priority_level": 1,
                    "default_queue_policy": {"max_queue_size": batching.max_queue_size},
                    "priority_queue_policy": {2: {"max_queue_size": batching.max_bulk_queue_size}},
                },
                "version_policy": {"specific": {"versions": self.versions}},
                "parameters": {key: {"string_value": value} for key, value in self.parameters.items()},
            }
        )

    def serving(self, *versions: int) -> "ModelConfig":
        """The same configuration with other version numbers."""
        return self.model_copy(update={"versions": versions})


def _block(name: str, lines: Iterator[str]) -> list[str]:
    return [f"{name} {{", *(f"  {line}" for line in lines), "}"]


def clinical_coder_config(
    *,
    versions: tuple[int, ...],
    device: Device,
    max_batch_size: int = 16,
    max_num_threads: int = 16,
    max_pass_tokens: int = 8192,
    dynamic_batching: DynamicBatching | None = None,
    gpus: tuple[int, ...] = (),
) -> ModelConfig:
    """Describe the model that scores the notes of one encounter a request.

    Shapes: ``NOTES`` one JSON text; K ranked codes in ``CODE_INDEX`` (position in the bundle's
    labels), ``CONFIDENCE`` and ``SUGGESTED``; E spans in ``EVIDENCE`` as (rank from 0, note index,
    start, end in characters); ``BUNDLE_SHA256`` the 32 bytes that name the bundle that answered; ``TIMINGS`` seconds
    of reading and scoring, then requests, tokens and computed tokens of the pass.

    Args:
        versions: Version numbers to serve at once.
        device: Where the model runs.
        max_batch_size: Requests in one forward.
        max_num_threads: Most CPU threads of an instance; never more than there are cores.
        max_pass_tokens: Tokens that are encoded together; a batch of more goes in several passes, short notes first.
        dynamic_batching: How requests are gathered; by default 2 ms and a queue of 64.
        gpus: GPU numbers; every visible one when empty.

    Returns:
        The configuration, ready to render.
    """
    outputs = (
        ModelTensor(name=CODE_INDEX, data_type=DataType.INT32, dims=(-1,)),
        ModelTensor(name=CONFIDENCE, data_type=DataType.FP32, dims=(-1,)),
        ModelTensor(name=SUGGESTED, data_type=DataType.BOOL, dims=(-1,)),
        ModelTensor(name=EVIDENCE, data_type=DataType.INT32, dims=(-1, 4)),
        ModelTensor(name=BUNDLE_SHA256, data_type=DataType.UINT8, dims=(32,)),
        ModelTensor(name=TIMINGS, data_type=DataType.FP32, dims=(6,)),
    )
    return ModelConfig(
        name=MODEL_NAME,
        max_batch_size=max_batch_size,
        inputs=(ModelTensor(name=NOTES, data_type=DataType.STRING, dims=(1,)),),
        outputs=outputs,
        instance_group=InstanceGroup(device=device, gpus=gpus),
        dynamic_batching=dynamic_batching or DynamicBatching(),
        versions=versions,
        parameters={MAX_NUM_THREADS: str(max_num_threads), MAX_PASS_TOKENS: str(max_pass_tokens)},
    )
