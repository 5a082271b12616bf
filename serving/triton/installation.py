"""Finds the Triton of the nvidia-pytriton wheel and makes it fit to start (stage 6).

The wheel is a store of binaries here; nothing of it is imported. Its backend directory does not work
in place, so a private one of symbolic links is made with the stub of this Python. The stub is tried
first: one that cannot load a library hangs the server for ever. This module starts no server.
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["TritonInstallation", "find_triton"]

_STUB_TIMEOUT_SECONDS: Final = 30
# What the dynamic loader leaves behind when a library is missing; the stub itself says 1, for want of arguments.
_LOADER_FAILED: Final = 127


@dataclass(frozen=True, slots=True)
class TritonInstallation:
    """Where the parts of an embedded Triton are."""

    server: Path
    """The tritonserver binary."""
    backend: Path
    """The folder of the Python backend's library."""
    stub: Path
    """The stub built for this version of Python."""
    libpython_folder: Path
    """The folder of this interpreter's shared library."""

    def environment(self) -> dict[str, str]:
        """The variables to start Triton with: this process's own, with this Python's parts first."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return inherited | {
            # The stub finds pyvenv.cfg, and with it the installed packages, through the first python on PATH.
            "PATH": _prepend(Path(sys.prefix) / "bin", os.environ.get("PATH")),
            "LD_LIBRARY_PATH": _prepend(self.libpython_folder, os.environ.get("LD_LIBRARY_PATH")),
            # A bundle is whole; nothing may be fetched to serve it.
            "HF_HUB_OFFLINE": "1",
        }

    def link_backend(self, folder: Path) -> None:
        """Fill ``folder/python`` with links to the backend and the stub, replacing what is there.

        Args:
            folder: What Triton gets as ``--backend-directory``.
        """
        python = folder / "python"
        python.mkdir(parents=True, exist_ok=True)
        targets = {
            "libtriton_python.so": self.backend / "libtriton_python.so",
            "triton_python_backend_utils.py": self.backend / "triton_python_backend_utils.py",
            "triton_python_backend_stub": self.stub,
        }
        for name, target in targets.items():
            link = python / name
            link.unlink(missing_ok=True)
            link.symlink_to(target)

    def check_stub(self) -> None:
        """Run the stub with no arguments.

        Raises:
            ValueError: It cannot load a library, or does not end.
        """
        try:
            done = subprocess.run(
                [self.stub], env=self.environment(), capture_output=True, timeout=_STUB_TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise ValueError(
                f"Triton's Python stub {self.stub} did not end within {_STUB_TIMEOUT_SECONDS} s when run alone; "
                "reinstall nvidia-pytriton"
            ) from None
        if done.returncode == _LOADER_FAILED:
            reason = done.stderr.decode(errors="replace").strip()
            raise ValueError(f"Triton's Python stub does not start: {reason}; install the library that it names")


def find_triton() -> TritonInstallation:
    """Find the server, the backend, the stub of this Python and its shared library.

    Returns:
        The installation.

    Raises:
        ValueError: A part is missing; the message says which and what to do.
    """
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("the Triton server is not installed; install chartloop[triton], or serve without Triton")
    root = Path(spec.submodule_search_locations[0]) / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        known = ", ".join(sorted(path.name for path in stub.parent.parent.glob("3.*")))
        raise ValueError(f"nvidia-pytriton has no stub for Python {version}, only for {known}; use one of these")
    return TritonInstallation(
        server=root / "bin" / "tritonserver",
        backend=root / "backends" / "python",
        stub=stub,
        libpython_folder=_find_libpython(version),
    )


def _find_libpython(version: str) -> Path:
    """The folder of this interpreter's own library; the loader could take another system's in silence."""
    name = f"libpython{version}.so.1.0"
    configured = [sysconfig.get_config_var(variable) for variable in ("LIBDIR", "LIBPL")]
    folders = [Path(sys.base_prefix) / "lib", *(Path(folder) for folder in configured if folder)]
    folders += [folder / str(sysconfig.get_config_var("MULTIARCH")) for folder in folders]
    for folder in folders:
        if (folder / name).is_file():
            return folder
    raise ValueError(
        f"{name} of {sys.executable} is in none of {', '.join(map(str, folders))}; "
        "use a Python that was built with --enable-shared, or install its library package"
    )


def _prepend(folder: Path, path: str | None) -> str:
    return f"{folder}{os.pathsep}{path}" if path else str(folder)
