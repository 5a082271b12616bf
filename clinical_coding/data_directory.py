"""The data directory: where everything that chartloop keeps lies, named once for all packages.

It knows paths and addresses only; nothing is created until :meth:`DataDirectory.lock`
asks for the folder. MLflow is never imported here: training and governance each open the
store by themselves, under the same address, environment and lock.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit, urlunsplit

__all__ = [
    "DATA_DIRECTORY_VARIABLE",
    "TRACKING_URI_VARIABLE",
    "DataDirectory",
    "describe_closed_store",
    "path_of_uri",
    "quiet_tracking",
]

DATA_DIRECTORY_VARIABLE = "CHARTLOOP_DATA_DIR"
TRACKING_URI_VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT_DATA_DIRECTORY = Path("mlruns")


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Every place below one root; the root is absolute, so it holds from any working directory."""

    root: Path

    @classmethod
    def locate(cls, path: Path | None = None) -> Self:
        """Find the data directory without creating it.

        Args:
            path: What the user named; else ``CHARTLOOP_DATA_DIR``; else ``./mlruns``.

        Raises:
            ValueError: The path cannot be part of a database address, or is a file.
        """
        chosen = path or Path(os.environ.get(DATA_DIRECTORY_VARIABLE) or DEFAULT_DATA_DIRECTORY)
        root = chosen.expanduser().resolve()
        if forbidden := sorted({"?", "%"} & set(str(root))):
            raise ValueError(
                f"data directory {root} contains {' and '.join(forbidden)}, which a database address "
                "cannot carry; name another folder with --data-dir"
            )
        if root.exists() and not root.is_dir():
            raise ValueError(f"data directory {root} is a file, expected a folder; name another with --data-dir")
        return cls(root)

    @property
    def tracking_database(self) -> Path:
        """The embedded MLflow store."""
        return self.root / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """MLflow's artefacts, by run id."""
        return self.root / "artifacts"

    @property
    def database(self) -> Path:
        """The ledger's SQLite file."""
        return self.root / "chartloop.db"

    @property
    def keys(self) -> Path:
        """Key files, mode 0600."""
        return self.root / "keys"

    @property
    def model_repository(self) -> Path:
        """What Triton loads."""
        return self.root / "model_repository"

    @property
    def checkpoints(self) -> Path:
        """Training checkpoints, from which a killed training resumes."""
        return self.root / "checkpoints"

    @property
    def code_systems(self) -> Path:
        """Imported releases of code systems and tables, by system and hash."""
        return self.root / "code_systems"

    @property
    def cache(self) -> Path:
        """What can be fetched or computed again."""
        return self.root / "cache"

    @property
    def tracking_uri(self) -> str:
        """The MLflow address: ``MLFLOW_TRACKING_URI`` when set, else the embedded store."""
        return os.environ.get(TRACKING_URI_VARIABLE) or f"sqlite:///{self.tracking_database}"

    @property
    def has_embedded_tracking(self) -> bool:
        """True when the MLflow store is this directory's own SQLite file."""
        return self.tracking_uri == f"sqlite:///{self.tracking_database}"

    @property
    def artifacts_uri(self) -> str | None:
        """Where runs keep artefacts; null when a tracking server decides that itself."""
        return None if urlsplit(self.tracking_uri).scheme in {"http", "https"} else self.artifacts.as_uri()

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock among processes and threads on one matter; wait for it as long as it takes.

        The system drops the lock when its holder dies. It does not nest.

        Args:
            name: What is locked, for instance ``mlflow``.

        Raises:
            ValueError: The data directory cannot be created or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            stream = (self.root / f".{name}.lock").open("ab")
        except OSError as error:
            raise ValueError(
                f"data directory {self.root} cannot be written ({error.strerror}); name another with --data-dir"
            ) from None
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def path_of_uri(uri: str) -> Path | None:
    """Turn a ``file:`` address or a plain path into a path; null for an address elsewhere."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme else Path(uri)


def describe_closed_store(uri: str, *, message: str, error_code: str) -> str:
    """Say why an MLflow store cannot be opened, without the user, password or options that its address may hold.

    Args:
        uri: The store's address.
        message: MLflow's. It may repeat the address, so it is told only where the address is no secret.
        error_code: MLflow's, which is told otherwise.
    """
    parts = urlsplit(uri)
    address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    # An address of no host, sqlite:///a/b, loses its slashes on the way and holds no secret.
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    told, reason = (uri, message) if is_plain else (address, error_code)
    return f"MLflow store {told} cannot be opened: {reason}; check {TRACKING_URI_VARIABLE}, and that the store runs"


def quiet_tracking() -> None:
    """Switch MLflow's telemetry and chatter off, unless the user chose otherwise; call before importing it."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
