"""``serve`` as a process of its own, and a registry with versions that answer differently."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.artefact import sha256_of_file
from clinical_coding.bundle import Bundle, read_bundle
from clinical_coding.data_directory import DataDirectory
from clinical_coding.registered_version import MODEL_NAME, EvaluatedOn, VersionLineage
from clinical_coding.suggestions import VersionName
from ledger.local_key import LOCAL_KEY_FILE

CONFIGS = Path(__file__).parents[2] / "configs"
PROGRAM = """
import json, sys
from pathlib import Path
from clinical_coding.suggestions import VersionName
from feedback.settings import load_feedback, load_reasons
from scripts.answer_rules import load_rules
from serving.serve import serve
from serving.settings import ServingSettings
given = json.loads(sys.argv[1])
data_dir = Path(given.pop("data_dir"))
serve(Path(given.pop("bundle")), version=VersionName(**given.pop("version")), data_dir=data_dir,
      settings=ServingSettings.model_validate(given.pop("settings")), rules=load_rules(data_dir),
      feedback=load_feedback(Path(given["configs"]) / "feedback.yaml"),
      reasons=load_reasons(Path(given.pop("configs")) / "reasons.yaml"), **given)
"""


@dataclass
class Serving:
    """A running ``serve``."""

    process: subprocess.Popen[str]
    ready: str
    url: str
    data_dir: Path
    log_path: Path

    @property
    def key(self) -> str:
        return (self.data_dir / "keys" / LOCAL_KEY_FILE).read_text().strip()

    def children(self) -> set[int]:
        """The process ids of all that it started."""
        return descendants_(self.process.pid)

    def wait_for_line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(90, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline().rstrip("\n")
        watchdog.cancel()
        return line

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Signal it; give its exit code and what else it printed."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=40)
        return self.process.returncode, rest


def descendants_(pid: int) -> set[int]:
    found: set[int] = set()
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listing.read_text().split()):
            found |= {child} | descendants_(child)
    return found


def launch_(bundle: Path, data_dir: Path, log_path: Path, **given: Any) -> subprocess.Popen[str]:
    given = {"port": 0, "backend": "local", "settings": {"fallback": {"num_threads": 1}}} | given
    named = VersionName(name="clinical-coder", number=3, alias="candidate", bundle_sha256=read_bundle(bundle)[1])
    given = {"version": named.model_dump()} | given
    given |= {"bundle": str(bundle), "data_dir": str(data_dir), "configs": str(CONFIGS)}
    with log_path.open("w") as log:
        command = [sys.executable, "-c", PROGRAM, json.dumps(given)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=log_path.parent)


@pytest.fixture
def launch() -> Callable[..., subprocess.Popen[str]]:
    """Start it; give the process at once."""
    return launch_


@pytest.fixture
def descendants() -> Callable[[int], set[int]]:
    """All processes below a process."""
    return descendants_


@pytest.fixture
def start(tiny_bundle: Path, tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    started: list[subprocess.Popen[str]] = []

    def start_(bundle: Path = tiny_bundle, data_dir: Path = tmp_path / "data", **given: Any) -> Serving:
        log_path = tmp_path / f"log-{len(started)}.jsonl"
        process = launch_(bundle, data_dir, log_path, **given)
        started.append(process)
        serving = Serving(process, "", "", data_dir, log_path)
        serving.ready = serving.wait_for_line()
        match = re.match(r"ready: (http://127\.0\.0\.1:\d+) ", serving.ready)
        assert match, log_path.read_text()
        serving.url = match[1]
        return serving

    yield start_
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def register_bundle(data_dir: Path) -> Callable[[Path], int]:
    """Register a bundle as training does, without training; gives its number."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    directory = DataDirectory.locate(data_dir)
    client = MlflowClient(directory.tracking_uri, registry_uri=directory.tracking_uri)

    def register(bundle: Path) -> int:
        lineage = VersionLineage(
            bundle_sha256=read_bundle(bundle)[1],
            manifest_sha256="2" * 64,
            base_model="tiny@1",
            code_commit=None,
            evaluated_on=EvaluatedOn.DEV,
            metrics={},
        )
        try:
            client.get_registered_model(MODEL_NAME)
        except MlflowException:
            client.create_registered_model(MODEL_NAME)
        version = client.create_model_version(MODEL_NAME, bundle.as_uri(), tags=lineage.to_tags())
        return int(version.version)

    return register


@pytest.fixture
def vary_bundle(tiny_bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copy the tiny bundle with other fields in its index, or with another file; sound by its hashes all the same."""

    def vary(name: str, *, file: str | None = None, content: bytes = b"", **fields: Any) -> Path:
        folder = tmp_path / "varied" / name
        shutil.copytree(tiny_bundle, folder)
        index = read_bundle(folder)[0]
        if file is not None:
            (folder / file).write_bytes(content)
            fields["files"] = {**index.files, file: sha256_of_file(folder / file)}
        changed = Bundle.model_validate(index.model_dump() | fields)
        (folder / "bundle.json").write_text(changed.model_dump_json())
        return folder

    return vary
