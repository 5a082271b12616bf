"""The folder in which one training run keeps what a kill must not lose: run id, checkpoints, half-made bundles.

A run that finds the folder of the same configuration and records goes on from it. Two equal runs at once
each get their own.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from uuid import uuid4

from clinical_coding.artefact import publish, sha256_of_json
from clinical_coding.manifest import Manifest
from training.config import TrainConfig

__all__ = ["TrainingSession", "incoming_file", "open_session"]

_RUN_FILE = "run.json"


class TrainingSession:
    """One run's folder, locked by this process."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def run_id(self) -> str | None:
        """The MLflow run that an earlier, killed process began; None on a fresh start."""
        path = self.folder / _RUN_FILE
        return json.loads(path.read_text())["run_id"] if path.is_file() else None

    def remember(self, run_id: str) -> None:
        """Keep the run's id for whoever goes on."""
        with publish(self.folder / _RUN_FILE) as stream:
            json.dump({"run_id": run_id}, stream)

    def finish(self) -> None:
        """Drop everything: the version is registered."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()


@contextmanager
def open_session(config: TrainConfig, manifest: Manifest, *, checkpoints: Path) -> Iterator[TrainingSession]:
    """Take a folder of this configuration and these records: one that a killed run left, else a free one."""
    key = sha256_of_json([config.model_dump(mode="json"), manifest.content_sha256, manifest.sources])[:16]
    left = sorted(path.parent for path in checkpoints.glob(f"{key}*/{_RUN_FILE}"))
    fresh = (checkpoints / (key if number == 0 else f"{key}-{number}") for number in count())
    for folder in chain(left, fresh):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield TrainingSession(folder)
            return


@contextmanager
def incoming_file(checkpoints: Path) -> Iterator[Path]:
    """A file to read records into before it is known which session they belong to; removed if still there.

    Those of killed processes are removed at the next start: they hold notes. The folder is the owner's alone.
    """
    checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoints.chmod(0o700)
    for left in checkpoints.glob("incoming-*.lock"):
        with left.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            left.with_suffix(".arrow").unlink(missing_ok=True)
            left.unlink(missing_ok=True)
    path = checkpoints / f"incoming-{uuid4().hex}.arrow"
    with path.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)
