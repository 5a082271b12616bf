"""Measure the model's training step and forward pass, each beside its peers in the same run.

Runs on random weights of real shapes, without network and without optional packages, on CPU and on GPU:

    python -m scripts.benchmark_model --suite cpu
    python -m scripts.benchmark_model --suite gpu --json gpu.json
"""

import argparse
import resource
import sys
from pathlib import Path

import torch

from scripts.benchmark_results import RESULTS, Row, write_results
from scripts.model_benchmark.ceilings import copy_ceiling, matmul_ceiling
from scripts.model_benchmark.forward import forward_rows, label_space_rows, length_rows
from scripts.model_benchmark.shapes import MINILM, MODERNBERT
from scripts.model_benchmark.training import training_rows


def _measure(suite: str) -> list[Row]:
    device = torch.device("cuda" if suite == "gpu" else "cpu")
    dtype = torch.bfloat16 if suite == "gpu" else torch.float32
    precision = "bf16" if suite == "gpu" else "fp32"
    rounds, steps, num_notes = {"quick": (1, 2, 8), "cpu": (3, 4, 32), "gpu": (5, 20, 512)}[suite]
    ceiling = matmul_ceiling(device, dtype)
    rows = [
        Row(f"matmul ceiling, {precision}", ceiling / 1e12, "TFLOP/s"),
        Row("copy ceiling", copy_ceiling(device) / 1e9, "GB/s"),
    ]
    for shape in (MINILM, MODERNBERT) if suite == "gpu" else (MINILM,):
        rows += training_rows(
            shape, num_steps=steps, rounds=rounds, ceiling=ceiling, device=device, precision=precision
        )
        rows += forward_rows(shape, num_notes=num_notes, rounds=rounds, ceiling=ceiling, device=device, dtype=dtype)
        rows += label_space_rows(shape, num_notes=num_notes // 2, rounds=rounds, device=device, dtype=dtype)
        rows += length_rows(shape, rounds=rounds, device=device, dtype=dtype)
    return [*rows, Row("peak memory of all of the above", _peak_gigabytes(device), "GB")]


def _peak_gigabytes(device: torch.device) -> float:
    """Of the device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=("quick", "cpu", "gpu"), default="quick", help="what to measure")
    parser.add_argument("--json", type=Path, help="where to write; docs/benchmarks/model/SUITE.json when left out")
    options = parser.parse_args()
    if options.suite == "gpu" and not torch.cuda.is_available():
        parser.error("--suite gpu: torch sees no GPU; install the CUDA build of torch, or measure --suite cpu")
    rows = _measure(options.suite)
    for row in rows:
        beside = f"   {row.ratio:.2f} times {row.peer} ({row.peer_value:,.4g})" if row.ratio else ""
        sys.stdout.write(f"{row.metric:<75} {row.value:>10,.4g} {row.unit}{beside}\n")
    gpu = torch.cuda.get_device_name() if options.suite == "gpu" else None
    path = options.json or RESULTS / "model" / f"{options.suite}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_results(path, rows, gpu=gpu, threads=torch.get_num_threads())
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
