"""What every benchmark script writes: one JSON file under docs/benchmarks with its command, versions, device, rows."""

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clinical_coding.artefact import publish

__all__ = ["RESULTS", "Row", "write_results"]

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
_PACKAGES = ("torch", "transformers", "peft", "mlflow", "nvidia-pytriton", "numpy", "scikit-learn", "pydantic")


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure; with a peer, measured in the same run, the ratio says how much more ours is."""

    metric: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's."""
        return self.value / self.peer_value if self.peer_value else None


def write_results(to: str | Path, rows: list[Row], **facts: object) -> Path:
    """Write ``docs/benchmarks/<name>.json``, or a file anywhere.

    Args:
        to: Name under docs/benchmarks, or the path of another file.
        rows: The figures.
        **facts: What else a reader needs to judge them.
    """
    content = {
        "command": " ".join(
            ["python", "-m", f"scripts.{_module(Path(sys.argv[0]))}", *(_portable(part) for part in sys.argv[1:])]
        ),
        "versions": {"python": platform.python_version(), **_versions()},
        "device": {"machine": platform.machine(), "processor": _processor(), "cores": os.cpu_count()},
        **facts,
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
    }
    path = to if isinstance(to, Path) else RESULTS / f"{to}.json"
    with publish(path) as stream:
        json.dump(content, stream, indent=2)
        stream.write("\n")
    return path


def _module(program: Path) -> str:
    """The module of a program, which may be a package."""
    return program.parent.name if program.stem == "__main__" else program.stem


def _portable(argument: str) -> str:
    """An argument without the folders of this machine."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
