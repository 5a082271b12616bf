"""What the faults happen to: a gateway with Triton and the standby worker, on a data directory of its own."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from psutil import NoSuchProcess, Process, ZombieProcess

from scripts.options import CONFIGS
from scripts.serving_benchmark.gateway_server import Gateway, gateway

__all__ = ["Harmed", "own_data_dir", "serving"]

_STUB: Final = "triton_python_b"
# One set of times for all faults: those of configs/serving.yaml, but for a drain that a balancer can see.
_DRAIN_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Harmed:
    """A gateway, and who belongs to it."""

    server: Gateway
    data_dir: Path

    def pids(self, part: str) -> list[int]:
        """The processes of a part: ``stub``, ``server`` or ``worker``."""
        return [process.pid for process in self.server.tree.processes() if _part_of(process) == part]


def _part_of(process: Process) -> str | None:
    try:
        name, command = process.name(), process.cmdline()
    except (NoSuchProcess, ZombieProcess):
        return None
    if name.startswith(_STUB):
        return "stub"
    if name.startswith("tritonserver"):
        return "server"
    return "worker" if "serving.fallback.worker" in command else "gateway"


@contextmanager
def own_data_dir(data_dir: Path, folder: Path) -> Iterator[Path]:
    """A copy of a data directory: its versions, and no ledger."""
    copy = folder / "data"
    shutil.copytree(data_dir, copy, ignore=shutil.ignore_patterns("chartloop.db*", "model_repository", "keys", "logs"))
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


@contextmanager
def serving(
    data_dir: Path, *, version: str | None, folder: Path, environment: dict[str, str] | None = None, **changed: Any
) -> Iterator[Harmed]:
    """Serve from a data directory until the block ends.

    Args:
        data_dir: Of this server alone.
        version: What to serve; the champion, followed, when None.
        folder: Where its settings are written.
        environment: More variables.
        **changed: Sections of the settings whose fields differ: ``fallback={"mode": "off"}``.
    """
    settings = yaml.safe_load((CONFIGS / "serving.yaml").read_text())
    settings["gateway"]["drain_seconds"] = _DRAIN_SECONDS
    for section, fields in changed.items():
        settings[section] |= fields
    config = folder / f"serving-{os.urandom(4).hex()}.yaml"
    config.write_text(yaml.safe_dump(settings))
    with gateway(version, data_dir=data_dir, config=config, environment=environment) as server:
        yield Harmed(server, data_dir)
