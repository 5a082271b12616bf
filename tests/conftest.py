"""What several packages' tests share: an MLflow store whose schema is made once, and small bundles."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clinical_coding.artefact import sha256_of_file
from clinical_coding.bundle import BaseModelName, Bundle, Calibration, Windowing
from clinical_coding.data_directory import DATA_DIRECTORY_VARIABLE, TRACKING_URI_VARIABLE

BundleMaker = Callable[[str], Path]

OPEN_STORE = """
import sys
from pathlib import Path
from clinical_coding.data_directory import DataDirectory
from training.tracking import open_store
open_store(DataDirectory.locate(Path(sys.argv[1])))
"""


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the places that a developer's shell names out of the tests."""
    for variable in (DATA_DIRECTORY_VARIABLE, TRACKING_URI_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose MLflow schema two processes created at once; to be copied, not written.

    The name has a space and letters beyond ASCII, which addresses must carry.
    """
    folder = tmp_path_factory.mktemp("store") / "données #1 of 2"
    command = [sys.executable, "-c", OPEN_STORE, str(folder)]
    environment = {k: v for k, v in os.environ.items() if k not in (DATA_DIRECTORY_VARIABLE, TRACKING_URI_VARIABLE)}
    processes = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder.parent, env=environment)
        for _ in range(2)
    ]
    for process in processes:
        _, complaints = process.communicate(timeout=120)
        assert (process.returncode, complaints) == (0, "")
    return folder


@pytest.fixture
def data_dir(empty_store: Path, tmp_path: Path) -> Path:
    """A data directory of the test's own, with an empty MLflow store."""
    folder = tmp_path / empty_store.name
    folder.mkdir()
    shutil.copy(empty_store / "mlflow.db", folder)
    return folder


@pytest.fixture
def make_bundle(tmp_path: Path) -> BundleMaker:
    """Make a small bundle whose content, and so whose hash, depends on a seed."""

    def make(seed: str) -> Path:
        folder = tmp_path / "bundles" / seed
        (folder / "tokenizer").mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(hashlib.sha512(seed.encode()).digest())
        (folder / "tokenizer" / "vocabulary.txt").write_text(seed)
        bundle = Bundle(
            base_model=BaseModelName(name="tiny", revision="1", sha256="0" * 64),
            label_space_sha256="1" * 64,
            releases={"icd10cm": ("2026-04",)},
            windowing=Windowing(max_window_tokens=128, max_windows=4),
            calibration=Calibration(logit_weight=1.0, lexical_weight=0.0, offset=0.0),
            threshold=0.5,
            manifest_sha256="2" * 64,
            code_commit="abc123",
            reference={},
            files={
                path.relative_to(folder).as_posix(): sha256_of_file(path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
        )
        (folder / "bundle.json").write_text(bundle.model_dump_json())
        return folder

    return make
