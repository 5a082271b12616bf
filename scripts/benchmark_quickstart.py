"""Time and memory of the quickstart on a fresh clone, with installation and without, and of ``chartloop --help``.

Clones the committed state into a temporary folder, so that nothing of this checkout's environment or data is used,
and writes docs/benchmarks/quickstart.json.
"""

import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import typer

from scripts.benchmark_results import Row, write_results

__all__ = ["run"]

ROOT = Path(__file__).resolve().parents[1]
_SAMPLE_SECONDS = 0.5


def watched(command: list[str], *, folder: Path) -> tuple[float, float]:
    """Run a command to its end.

    Returns:
        Seconds, and the peak of the memory of the process and all its descendants together, in GB: their
        resident sets added up, pages that they share counted for each.

    Raises:
        ValueError: It failed; the message holds the end of what it printed.
    """
    with tempfile.TemporaryFile("w+") as log:
        started, peak_bytes = time.monotonic(), 0
        process = psutil.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            resident = 0
            for member in [process, *process.children(recursive=True)]:
                try:
                    resident += member.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak_bytes = max(peak_bytes, resident)
            time.sleep(_SAMPLE_SECONDS)
        if process.returncode != 0:
            log.seek(0)
            raise ValueError(f"{' '.join(command)} failed with {process.returncode}:\n{log.read()[-3000:]}")
        return time.monotonic() - started, peak_bytes / 1e9


def run() -> None:
    """Measure, and write the results."""
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "chartloop"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        began = time.time()
        fresh_seconds, peak_gigabytes = watched(["scripts/quickstart"], folder=clone)
        # The last thing that the installation writes.
        install_seconds = (clone / ".venv" / "installed").stat().st_mtime - began
        again_seconds, _ = watched(["scripts/quickstart"], folder=clone)
        help_seconds = []
        for _ in range(5):
            started = time.monotonic()
            subprocess.run([".venv/bin/chartloop", "--help"], cwd=clone, check=True, capture_output=True)
            help_seconds.append(time.monotonic() - started)
    rows = [
        Row("quickstart_with_installation", fresh_seconds, "s"),
        Row("quickstart_without_installation", fresh_seconds - install_seconds, "s"),
        Row("quickstart_with_a_version_registered", again_seconds, "s"),
        Row("quickstart_peak_memory", peak_gigabytes, "GB"),
        Row("help_median", sorted(help_seconds)[2], "s"),
    ]
    typer.echo(write_results("quickstart", rows))


if __name__ == "__main__":
    typer.run(run)
