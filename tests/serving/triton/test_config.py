from typing import Any

import pytest
from google.protobuf import json_format, text_format
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.triton.config import DynamicBatching, InstanceGroup, ModelConfig, clinical_coder_config

# Importing tritonclient.grpc first puts the right protobuf modules in place.
model_config_pb2: Any = pytest.importorskip("tritonclient.grpc.model_config_pb2")


def parse(config: ModelConfig) -> Any:
    parsed = text_format.Parse(config.render(), model_config_pb2.ModelConfig())
    # A running Triton takes JSON, and reloads every version where it says anything else.
    assert json_format.Parse(config.to_json(), model_config_pb2.ModelConfig()) == parsed
    return parsed


def test_triton_reads_what_is_rendered() -> None:
    parsed = parse(clinical_coder_config(versions=(3,), device="cpu", max_num_threads=2))

    assert (parsed.name, parsed.backend, parsed.max_batch_size) == ("clinical-coder", "python", 16)
    assert [(t.name, model_config_pb2.DataType.Name(t.data_type), list(t.dims)) for t in parsed.input] == [
        ("NOTES", "TYPE_STRING", [1])
    ]
    assert [(t.name, model_config_pb2.DataType.Name(t.data_type), list(t.dims)) for t in parsed.output] == [
        ("CODE_INDEX", "TYPE_INT32", [-1]),
        ("CONFIDENCE", "TYPE_FP32", [-1]),
        ("SUGGESTED", "TYPE_BOOL", [-1]),
        ("EVIDENCE", "TYPE_INT32", [-1, 4]),
        ("BUNDLE_SHA256", "TYPE_UINT8", [32]),
        ("TIMINGS", "TYPE_FP32", [6]),
    ]
    [group] = parsed.instance_group
    assert (group.kind, group.count, list(group.gpus)) == (model_config_pb2.ModelInstanceGroup.KIND_CPU, 1, [])
    assert parsed.dynamic_batching.max_queue_delay_microseconds == 2_000
    assert parsed.dynamic_batching.default_queue_policy.max_queue_size == 64
    assert (parsed.dynamic_batching.priority_levels, parsed.dynamic_batching.default_priority_level) == (2, 1)
    assert parsed.dynamic_batching.priority_queue_policy[2].max_queue_size == 32
    assert list(parsed.version_policy.specific.versions) == [3]
    assert {key: value.string_value for key, value in parsed.parameters.items()} == {
        "max_num_threads": "2",
        "max_pass_tokens": "8192",
    }


def test_gpu_is_an_instance_kind_and_nothing_else() -> None:
    on_cpu, on_gpu = (parse(clinical_coder_config(versions=(1,), device=device)) for device in ("cpu", "gpu"))
    assert on_gpu.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    on_gpu.instance_group[0].kind = on_cpu.instance_group[0].kind
    assert on_gpu == on_cpu


@given(
    versions=st.lists(st.integers(1, 2**31), min_size=1, max_size=4, unique=True).map(tuple),
    gpus=st.lists(st.integers(0, 7), max_size=8, unique=True).map(tuple),
    delay=st.integers(0, 10**6),
    queue=st.integers(1, 10**4),
    preferred=st.lists(st.integers(1, 32), max_size=3, unique=True).map(tuple),
)
def test_every_setting_arrives(
    versions: tuple[int, ...], gpus: tuple[int, ...], delay: int, queue: int, preferred: tuple[int, ...]
) -> None:
    batching = DynamicBatching(
        max_queue_delay_microseconds=delay, max_queue_size=queue, preferred_batch_sizes=preferred
    )
    parsed = parse(
        clinical_coder_config(versions=versions, device="gpu", gpus=gpus, max_batch_size=32, dynamic_batching=batching)
    )
    assert tuple(parsed.version_policy.specific.versions) == versions
    assert tuple(parsed.instance_group[0].gpus) == gpus
    assert parsed.dynamic_batching.max_queue_delay_microseconds == delay
    assert parsed.dynamic_batching.default_queue_policy.max_queue_size == queue
    assert tuple(parsed.dynamic_batching.preferred_batch_size) == preferred


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="gpus"):
        InstanceGroup(device="cpu", gpus=(0,))
    with pytest.raises(ValidationError, match="preferred_batch_sizes must not exceed max_batch_size 4; 8 does"):
        clinical_coder_config(
            versions=(1,), device="cpu", max_batch_size=4, dynamic_batching=DynamicBatching(preferred_batch_sizes=(8,))
        )
    with pytest.raises(ValidationError, match="versions"):
        clinical_coder_config(versions=(), device="cpu")
