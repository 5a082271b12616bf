"""What a running server holds while it serves: memory and open files by process, and shared memory of the machine."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from scripts.serving_benchmark.processes import ProcessTree

__all__ = ["TOTAL", "Sample", "growth", "take_sample"]

_SHARED_MEMORY: Final = Path("/dev/shm")
_ROLES: Final = (
    ("triton_python_backend_stub", "model"),
    ("serving.fallback.worker", "standby worker"),
    ("tritonserver", "triton"),
    ("scripts.chartloop", "gateway"),
)
"""What a process's command holds, and what it is; the first that fits."""
TOTAL: Final = "all"
_OTHER: Final = "other"
_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A reading."""

    at_seconds: float
    """Since the first."""
    memory_bytes: dict[str, int]
    """Resident, by what the process is, and of all."""
    num_files: dict[str, int]
    """Open, likewise."""
    shared_memory_bytes: int
    """In /dev/shm, whoever's."""


def take_sample(tree: ProcessTree, *, began: float) -> Sample:
    """Read.

    Args:
        tree: The server.
        began: When the first sample was taken, on the monotonic clock.
    """
    memory, files = {TOTAL: 0}, {TOTAL: 0}
    for process in tree.processes():
        try:
            role, resident, num_files = _role(process), process.memory_info().rss, process.num_fds()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        for name in (role, TOTAL):
            memory[name] = memory.get(name, 0) + resident
            files[name] = files.get(name, 0) + num_files
    return Sample(time.monotonic() - began, memory, files, _shared_memory())


def growth(samples: Sequence[Sample], values: Sequence[float], *, settled_after_seconds: float) -> float:
    """What a line through the medians of each minute gains from when it has settled to the end.

    Args:
        samples: By time.
        values: Of each, in any unit; the growth has the same.
        settled_after_seconds: What comes before does not count.

    Raises:
        ValueError: Fewer than two minutes are left.
    """
    minutes: dict[int, list[float]] = {}
    for sample, value in zip(samples, values, strict=True):
        if sample.at_seconds >= settled_after_seconds:
            minutes.setdefault(int(sample.at_seconds // _MINUTE), []).append(value)
    if len(minutes) < 2:
        raise ValueError(
            f"{len(minutes)} minutes after the first {settled_after_seconds:.0f} s tell no growth; run longer"
        )
    slope, _ = np.polyfit(list(minutes), [float(np.median(found)) for found in minutes.values()], 1)
    return float(slope * (max(minutes) - min(minutes)))


def _role(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    return next((role for part, role in _ROLES if part in command), _OTHER)


def _shared_memory() -> int:
    total = 0
    for path in _SHARED_MEMORY.iterdir():
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total
