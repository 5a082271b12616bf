import importlib.util
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from serving.triton.installation import TritonInstallation, find_triton


@pytest.fixture
def installation() -> TritonInstallation:
    if importlib.util.find_spec("pytriton") is None:
        pytest.skip("nvidia-pytriton is not installed; install chartloop[triton]")
    return find_triton()


def test_the_installed_parts_are_found_and_fit(installation: TritonInstallation, tmp_path: Path) -> None:
    installation.check_stub()
    installation.link_backend(tmp_path)
    installation.link_backend(tmp_path)

    links = {path.name: path.resolve(strict=True) for path in (tmp_path / "python").iterdir()}
    assert links["triton_python_backend_stub"] == installation.stub.resolve()
    assert links.keys() == {"libtriton_python.so", "triton_python_backend_utils.py", "triton_python_backend_stub"}
    assert installation.server.is_file()


def test_the_environment_names_this_python_first(
    installation: TritonInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    environment = installation.environment()

    assert environment["PATH"].startswith(str(Path(sys.prefix, "bin")))
    assert environment["LD_LIBRARY_PATH"] == f"{installation.libpython_folder}:/elsewhere"
    assert "PYTHONPATH" not in environment


def test_a_stub_that_lacks_a_library_is_found_before_the_start(
    installation: TritonInstallation, tmp_path: Path
) -> None:
    stub = tmp_path / "stub"
    stub.write_text("#!/bin/sh\necho 'libarchive.so.13: cannot open shared object file' >&2\nexit 127\n")
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)

    with pytest.raises(ValueError, match=r"libarchive\.so\.13.*install the library that it names"):
        replace(installation, stub=stub).check_stub()


def test_a_missing_wheel_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"chartloop\[triton\]"):
        find_triton()


def test_a_python_without_its_shared_library_is_refused(
    installation: TritonInstallation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_config_var", lambda name: str(tmp_path))
    with pytest.raises(ValueError, match="--enable-shared"):
        find_triton()
