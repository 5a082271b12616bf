"""Measure the model's training step and forward pass, each beside its peers in the same run.

Runs on random weights of real shapes, without network and without optional packages, on CPU and on GPU:

    python -m scripts.benchmark_model --suite cpu
    python -m scripts.benchmark_model --suite gpu --json gpu.json
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from scripts.benchmark_results import RESULTS, Row, write_results
from scripts.model_benchmark.ceilings import copy_ceiling, matmul_ceiling
from scripts.model_benchmark.forward import forward_rows, label_space_rows, length_rows
from scripts.model_benchmark.shapes import MINILM, MODERNBERT, TINY, EncoderShape
from scripts.model_benchmark.timing import peak_gigabytes
from scripts.model_benchmark.training import training_rows


@dataclass(frozen=True, slots=True)
class Suite:
    """How much is measured, and where."""

    device: torch.device
    dtype: torch.dtype
    shapes: tuple[EncoderShape, ...]
    rounds: int
    """Measured rounds."""
    num_steps: int
    """Of training, a round."""
    num_notes: int
    """A pass."""
    label_spaces: tuple[int, ...]
    """Numbers of labels; the first where nothing else is said."""
    compiles: bool
    """Whether the forward is compiled by PyTorch too, which takes minutes."""


_CPU, _GPU = torch.device("cpu"), torch.device("cuda")
_LABELS = (2_000, 20_000, 80_000)
SUITES: Final = {
    # Whether everything runs here at all; its figures say nothing.
    "smoke": Suite(
        _CPU, torch.float32, (TINY,), rounds=1, num_steps=1, num_notes=2, label_spaces=(100, 200), compiles=False
    ),
    "quick": Suite(
        _CPU, torch.float32, (MINILM,), rounds=1, num_steps=2, num_notes=8, label_spaces=_LABELS[:2], compiles=False
    ),
    "cpu": Suite(
        _CPU, torch.float32, (MINILM,), rounds=3, num_steps=4, num_notes=32, label_spaces=_LABELS, compiles=True
    ),
    "gpu": Suite(
        _GPU,
        torch.bfloat16,
        (MINILM, MODERNBERT),
        rounds=3,
        num_steps=20,
        num_notes=256,
        label_spaces=_LABELS,
        compiles=True,
    ),
}


def _measure(suite: Suite) -> Iterator[Row]:
    device, dtype, rounds, labels = suite.device, suite.dtype, suite.rounds, suite.label_spaces
    precision = "bf16" if dtype == torch.bfloat16 else "fp32"
    ceiling = matmul_ceiling(device, dtype)
    yield Row(f"matmul ceiling, {precision}", ceiling / 1e12, "TFLOP/s")
    yield Row("copy ceiling", copy_ceiling(device) / 1e9, "GB/s")
    for shape in suite.shapes:
        yield from training_rows(
            shape,
            num_steps=suite.num_steps,
            rounds=rounds,
            label_spaces=labels,
            ceiling=ceiling,
            device=device,
            precision=precision,
        )
        yield from forward_rows(
            shape,
            num_labels=labels[0],
            num_notes=suite.num_notes,
            compiles=suite.compiles,
            rounds=rounds,
            ceiling=ceiling,
            device=device,
            dtype=dtype,
        )
        yield from label_space_rows(
            shape, label_spaces=labels, num_notes=suite.num_notes // 2, rounds=rounds, device=device, dtype=dtype
        )
        yield from length_rows(shape, num_labels=labels[0], rounds=rounds, device=device, dtype=dtype)
    yield Row("peak memory of all of the above", peak_gigabytes(device), "GB")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=tuple(SUITES), default="quick", help="what to measure")
    parser.add_argument("--json", type=Path, help="where to write; docs/benchmarks/model/SUITE.json when left out")
    options = parser.parse_args()
    if options.suite == "gpu" and not torch.cuda.is_available():
        parser.error("--suite gpu: torch sees no GPU; install the CUDA build of torch, or measure --suite cpu")
    gpu = torch.cuda.get_device_name() if options.suite == "gpu" else None
    path = options.json or RESULTS / "model" / f"{options.suite}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list[Row]()
    for row in _measure(SUITES[options.suite]):
        beside = f"   {row.ratio:.2f} times {row.peer} ({row.peer_value:,.4g})" if row.ratio else ""
        sys.stdout.write(f"{row.metric:<75} {row.value:>10,.4g} {row.unit}{beside}\n")
        sys.stdout.flush()
        # What was measured stays when something later fails.
        rows.append(row)
        write_results(path, rows, gpu=gpu, threads=torch.get_num_threads())
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
