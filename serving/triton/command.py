"""How the embedded Triton is started: its folder, its ports, its flags (stage 6).

It starts nothing; ``process`` does, and ``server`` says when.
"""

import hashlib
import socket
from pathlib import Path
from typing import Final

from serving.triton.config import MODEL_NAME, ModelConfig
from serving.triton.control import TritonControl
from serving.triton.installation import TritonInstallation
from serving.triton.process import TritonProcess
from serving.triton.repository import write_config

__all__ = ["HOST", "TritonCommand"]

HOST: Final = "127.0.0.1"
# Relative to the working directory: Triton pastes these paths into a shell command without quotes, and hangs
# where a real path holds a space.
_REPOSITORY: Final = "repository"
_BACKENDS: Final = "backends"


class TritonCommand:
    """A way to start Triton on one repository, in one folder, on two ports; to be used again after a death."""

    def __init__(
        self, repository: Path, *, folder: Path, log: Path, grpc_port: int, metrics_port: int, control: TritonControl
    ) -> None:
        """Describe it.

        Args:
            repository: The model repository.
            folder: The working directory, which becomes the server's alone.
            log: The file that gets what server and stubs print.
            grpc_port: Port of the inference endpoint, on loopback.
            metrics_port: Port of Triton's Prometheus metrics, on loopback.
            control: Who may load and drop versions.
        """
        self._repository = repository.absolute()
        self._folder = folder
        self._log = log
        self._ports = {"gRPC": grpc_port, "metrics": metrics_port}
        self._control = control

    def check_ports(self) -> None:
        """See to it that both ports are free.

        Raises:
            ValueError: One is in use.
        """
        for name, port in self._ports.items():
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError as error:
                    raise ValueError(
                        f"port {port}, for Triton's {name}, cannot be opened on {HOST} ({error.strerror}); "
                        "stop what holds it, or choose another port"
                    ) from None

    def run(self, installation: TritonInstallation, *, config: ModelConfig, server_id: str) -> TritonProcess:
        """Start it.

        Args:
            installation: The server's files.
            config: What it serves.
            server_id: What it answers when asked who it is.
        """
        installation.link_backend(self._folder / _BACKENDS)
        link = self._folder / _REPOSITORY
        link.unlink(missing_ok=True)
        link.symlink_to(self._repository)
        # Only here, where nothing runs that could take a changed file for a changed model.
        write_config(self._repository, config)
        return TritonProcess(
            [str(installation.server), f"--id={server_id}", *self._flags()],
            environment=installation.environment(),
            folder=self._folder,
            log=self._log,
            owner=hashlib.sha256(str(self._folder).encode()).hexdigest()[:8],
        )

    def _flags(self) -> list[str]:
        return [
            f"--model-repository={_REPOSITORY}",
            f"--backend-directory={_BACKENDS}",
            "--disable-auto-complete-config",
            "--model-control-mode=explicit",
            f"--load-model={MODEL_NAME}",
            "--allow-http=false",
            f"--grpc-address={HOST}",
            f"--grpc-port={self._ports['gRPC']}",
            *self._control.flags(),
            f"--metrics-address={HOST}",
            f"--metrics-port={self._ports['metrics']}",
            "--exit-timeout-secs=10",
        ]
