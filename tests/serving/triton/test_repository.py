import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clinical_coding.bundle import read_bundle
from serving.triton.config import ModelConfig, clinical_coder_config
from serving.triton.repository import render_repository

MakeBundle = Callable[[str], Path]
CONFIG: ModelConfig = clinical_coder_config(versions=(7,), device="cpu")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file: what Triton takes for a change."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*")
    }


def test_a_published_version_is_whole(make_bundle: MakeBundle, tmp_path: Path) -> None:
    bundle = make_bundle("first")
    _, bundle_sha256 = read_bundle(bundle)

    version = render_repository(tmp_path / "repository", bundle=bundle, number=7, config=CONFIG)
    shutil.rmtree(bundle)

    assert version == tmp_path / "repository" / "clinical-coder" / "7"
    assert read_bundle(version / "bundle")[1] == bundle_sha256
    assert (version.parent / "config.pbtxt").read_text() == CONFIG.render()
    assert sorted(path.name for path in version.parent.iterdir()) == ["7", "config.pbtxt"]


def test_publishing_again_touches_nothing(make_bundle: MakeBundle, tmp_path: Path) -> None:
    bundle = make_bundle("first")
    render_repository(tmp_path / "repository", bundle=bundle, number=7, config=CONFIG)
    before = snapshot(tmp_path / "repository" / "clinical-coder" / "7")
    before_config = snapshot(tmp_path / "repository")["clinical-coder/config.pbtxt"]

    render_repository(tmp_path / "repository", bundle=bundle, number=7, config=CONFIG)

    assert snapshot(tmp_path / "repository" / "clinical-coder" / "7") == before
    assert snapshot(tmp_path / "repository")["clinical-coder/config.pbtxt"] == before_config


def test_files_are_linked_and_the_entry_is_compiled_for_any_time(make_bundle: MakeBundle, tmp_path: Path) -> None:
    bundle = make_bundle("first")
    version = render_repository(tmp_path / "repository", bundle=bundle, number=7, config=CONFIG)

    assert (version / "bundle" / "model.safetensors").samefile(bundle / "model.safetensors")
    compiled = Path(importlib.util.cache_from_source(str(version / "model.py")))
    # PEP 552: flag 1 says that a hash stands in the place of the source's time, flag 0 that it goes unchecked.
    assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01


def test_a_new_version_leaves_the_old_one_alone(make_bundle: MakeBundle, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    old = render_repository(repository, bundle=make_bundle("first"), number=7, config=CONFIG)
    before = snapshot(old)

    both = clinical_coder_config(versions=(7, 8), device="cpu")
    new = render_repository(repository, bundle=make_bundle("next"), number=8, config=both)

    assert snapshot(old) == before
    assert read_bundle(new / "bundle")[1] != read_bundle(old / "bundle")[1]
    assert (repository / "clinical-coder" / "config.pbtxt").read_text() == both.render()


def test_another_bundle_and_a_damaged_one_are_replaced(make_bundle: MakeBundle, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    first, second = make_bundle("first"), make_bundle("second")
    version = render_repository(repository, bundle=first, number=7, config=CONFIG)
    render_repository(repository, bundle=second, number=7, config=CONFIG)
    assert read_bundle(version / "bundle")[1] == read_bundle(second)[1]

    (version / "bundle" / "model.safetensors").unlink()
    render_repository(repository, bundle=second, number=7, config=CONFIG)
    assert read_bundle(version / "bundle")[1] == read_bundle(second)[1]
    assert sorted(path.name for path in version.parent.iterdir()) == ["7", "config.pbtxt"]


def test_a_changed_bundle_is_not_published(make_bundle: MakeBundle, tmp_path: Path) -> None:
    bundle = make_bundle("first")
    (bundle / "tokenizer" / "vocabulary.txt").write_text("changed")

    with pytest.raises(ValueError, match=r"tokenizer/vocabulary\.txt does not have the SHA-256"):
        render_repository(tmp_path / "repository", bundle=bundle, number=7, config=CONFIG)
    assert not (tmp_path / "repository").exists()


def test_a_number_that_is_not_served_is_refused(make_bundle: MakeBundle, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"number 8 must be one of the served versions \(7,\)"):
        render_repository(tmp_path / "repository", bundle=make_bundle("first"), number=8, config=CONFIG)
