import threading
from pathlib import Path

import pytest

from clinical_coding.data_directory import (
    DATA_DIRECTORY_VARIABLE,
    TRACKING_URI_VARIABLE,
    DataDirectory,
    describe_closed_store,
    path_of_uri,
)


def test_the_root_is_absolute_and_follows_option_variable_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert DataDirectory.locate().root == tmp_path / "mlruns"
    monkeypatch.setenv(DATA_DIRECTORY_VARIABLE, "from-variable")
    assert DataDirectory.locate().root == tmp_path / "from-variable"
    assert DataDirectory.locate(Path("named")).root == tmp_path / "named"
    assert not list(tmp_path.iterdir())


def test_the_embedded_store_gives_way_to_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = DataDirectory.locate(tmp_path / "a b")
    assert directory.tracking_uri == f"sqlite:///{tmp_path}/a b/mlflow.db"
    assert directory.artifacts_uri is not None and path_of_uri(directory.artifacts_uri) == directory.artifacts
    assert directory.has_embedded_tracking
    monkeypatch.setenv(TRACKING_URI_VARIABLE, "postgresql://host/mlflow")
    assert (directory.tracking_uri, directory.has_embedded_tracking) == ("postgresql://host/mlflow", False)
    assert directory.artifacts_uri == directory.artifacts.as_uri()
    monkeypatch.setenv(TRACKING_URI_VARIABLE, "https://mlflow.example.org")
    assert directory.artifacts_uri is None


def test_impossible_places_are_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, fault in (("a%b", "contains %"), ("why?", r"contains \?"), ("file", "is a file")):
        with pytest.raises(ValueError, match=rf"{fault}.*--data-dir"):
            DataDirectory.locate(tmp_path / name)
    with pytest.raises(ValueError, match=r"cannot be written .*--data-dir"), DataDirectory(tmp_path / "file").lock("x"):
        pass


def test_the_lock_keeps_others_out_until_it_is_released(tmp_path: Path) -> None:
    directory = DataDirectory.locate(tmp_path / "new")
    order: list[str] = []

    def enter() -> None:
        with directory.lock("store"):
            order.append("second")

    other = threading.Thread(target=enter)
    with directory.lock("store"):
        other.start()
        with directory.lock("another matter"):
            other.join(timeout=0.2)
        order.append("first")
    other.join(timeout=10)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a%20b/c%23d", Path("/a b/c#d")),
        ("/plain/path", Path("/plain/path")),
        ("mlflow-artifacts:/1/x", None),
        ("s3://bucket/x", None),
    ],
)
def test_only_addresses_of_files_have_a_path(uri: str, path: Path | None) -> None:
    assert path_of_uri(uri) == path


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://ada:geheim@db.example/mlflow",
        "postgresql://db.example/mlflow?user=ada&password=geheim",
        "https://geheim@db.example/mlflow",
        "postgresql://db.example/mlflow#geheim",
    ],
)
def test_an_address_is_told_without_its_secrets(uri: str) -> None:
    told = describe_closed_store(uri, message=f"no answer from {uri}", error_code="INTERNAL_ERROR")
    assert "db.example/mlflow cannot be opened: INTERNAL_ERROR; check MLFLOW_TRACKING_URI" in told
    assert "geheim" not in told and "ada" not in told


@pytest.mark.parametrize("uri", ["sqlite:////data/mlflow.db", "https://db.example/mlflow"])
def test_an_address_without_secrets_is_told_with_the_reason(uri: str) -> None:
    told = describe_closed_store(uri, message="no such table", error_code="INTERNAL_ERROR")
    assert told.startswith(f"MLflow store {uri} cannot be opened: no such table; ")
