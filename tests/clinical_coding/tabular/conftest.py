import shutil
from pathlib import Path

import pytest

from clinical_coding.code_library import CodeLibrary, load_icd10cm


@pytest.fixture(scope="session")
def library() -> CodeLibrary:
    return load_icd10cm()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A small release in the official layouts, with a cache of its own in ``tmp_path / "cache"``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = Path(__file__).parent
    tabular, order = tmp_path / "tabular.xml", tmp_path / "icd10cm_order_2030.txt"
    shutil.copy(here / "small_release.xml", tabular)
    shutil.copy(here / "small_order.txt", order)
    return tabular, order
