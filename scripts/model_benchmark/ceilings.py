"""What the device can do at best: a large matrix product in the working precision, and a copy."""

from functools import partial
from typing import Final

import torch

from scripts.model_benchmark.timing import seconds

__all__ = ["copy_ceiling", "matmul_ceiling"]

_REPEATS: Final = 5


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of some square matrix products, the best of five."""
    sizes = (4096, 8192) if device.type == "cuda" else (1024, 2048)
    best = 0.0
    for size in sizes:
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        took = min(seconds(partial(torch.matmul, left, right), device) for _ in range(_REPEATS))
        best = max(best, 2 * size**3 / took)
    return best


def copy_ceiling(device: torch.device) -> float:
    """Bytes/s, read and written, of a copy from device memory to device memory, the best of five."""
    source = torch.empty(2**28 if device.type == "cuda" else 2**26, device=device)
    target = torch.empty_like(source)
    took = min(seconds(lambda: target.copy_(source), device) for _ in range(_REPEATS))
    return 2 * source.numel() * source.element_size() / took
