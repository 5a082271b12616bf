import json
from pathlib import Path

import pytest

from clinical_coding.code_library import CodeLibrary
from clinical_coding.tabular.columns import load_columns

Files = tuple[Path, Path]


def cache_of(tabular: Path) -> list[Path]:
    return sorted((tabular.parent / "cache" / "chartloop").iterdir())


def test_the_cache_gives_what_the_files_gave(files: Files) -> None:
    parsed, cached = load_columns(*files), load_columns(*files)
    # JSON has no tuples.
    assert json.dumps(parsed) == json.dumps(cached)
    assert len(cache_of(files[0])) == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied"])
def test_a_damaged_cache_is_built_anew(files: Files, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    columns = load_columns(*files)
    (path,) = cache_of(files[0])
    whole = path.read_bytes()
    changed = whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
    path.write_bytes({"cut": whole[: len(whole) // 2], "changed": changed, "emptied": b""}[damage])
    assert load_columns(*files) == columns
    assert "is damaged and is built anew" in caplog.text
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_only(
    files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(files[0]))
    assert CodeLibrary.from_files(*files, release="2030").is_valid("A00.0")
    assert "cannot be cached" in caplog.text


def test_releases_never_meet_in_the_cache(files: Files) -> None:
    tabular, order = files
    CodeLibrary.from_files(tabular, order, release="2030")
    tabular.write_text(tabular.read_text().replace("Dull ache", "Deep ache"))
    entry = CodeLibrary.from_files(tabular, order, release="2031").get("A00.0")
    assert entry is not None and entry.description == "Deep ache"
    assert len(cache_of(tabular)) == 2
