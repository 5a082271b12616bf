"""The versions that one embedded Triton serves: one, and for the time of a change two (stage 6).

Knows the model repository and Triton's orders; nothing of processes, nor of who asks which version.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from clinical_coding.artefact import sha256_of_file
from clinical_coding.bundle import BUNDLE_FILE, read_labels
from serving.backends import BackendError
from serving.triton.client import TritonBackend
from serving.triton.config import BUNDLE_FOLDER, MODEL_NAME, ModelConfig
from serving.triton.control import TritonControl

__all__ = ["TritonVersions"]

_TELL_SECONDS: Final = 10.0
_log = structlog.get_logger(__name__)


class TritonVersions:
    """What is served now, in the order of loading."""

    def __init__(self, repository: Path, *, number: int, config: ModelConfig, address: str) -> None:
        """Describe the first version.

        Args:
            repository: The model repository.
            number: The version that the server is started with.
            config: The model's configuration, but for the versions.
            address: ``host:port`` of the server's gRPC endpoint.

        Raises:
            ValueError: The version is not in the repository.
        """
        self._repository = repository
        self._config = config
        self._address = address
        self.control = TritonControl.of_embedded(address)
        self._backends = {number: self._open(number)}

    @property
    def newest(self) -> TritonBackend:
        """The version that was loaded last: the one whose answers are wanted longest."""
        return next(reversed(self._backends.values()))

    @property
    def config(self) -> ModelConfig:
        """What a server that starts now is to serve."""
        return self._config.serving(*self._backends)

    def folders(self) -> Iterator[str]:
        """What the command line of each version's stub names."""
        return (f"/{MODEL_NAME}/{number}/" for number in self._backends)

    async def add(self, number: int, *, timeout_seconds: float) -> TritonBackend:
        """Load one more, and ask it for a canary; the others go on as before, whatever happens.

        Args:
            number: The version, which lies in the repository.
            timeout_seconds: How long loading may take.

        Raises:
            ValueError: The version is not in the repository, or is served already.
            BackendError: It does not load or does not answer; it is not kept then.
        """
        if number in self._backends:
            raise ValueError(f"version {number} is served already; stop the server to serve another bundle as {number}")
        backend = await asyncio.to_thread(self._open, number)
        try:
            await self.control.serve(self._config.serving(*self._backends, number), timeout_seconds=timeout_seconds)
            await backend.check(timeout_seconds=timeout_seconds)
        except BaseException:
            await self.tell()
            await backend.close()
            raise
        self._backends[number] = backend
        return backend

    def forget(self, backend: TritonBackend) -> None:
        """Serve one no longer; ``tell`` makes Triton do so."""
        assert len(self._backends) > 1, "the last version is served until the end"
        del self._backends[backend.version]

    async def tell(self) -> None:
        """Make Triton serve these versions alone. One that cannot be told now is told with the next change or start."""
        try:
            await self.control.serve(self.config, timeout_seconds=_TELL_SECONDS)
        except BackendError as error:
            _log.warning("triton_versions_not_told", reason=str(error))

    async def close(self) -> None:
        """Close the channels."""
        for backend in self._backends.values():
            await backend.close()

    def _open(self, number: int) -> TritonBackend:
        bundle = self._repository / MODEL_NAME / str(number) / BUNDLE_FOLDER
        if not (bundle / BUNDLE_FILE).is_file():
            raise ValueError(
                f"version {number} is not in the model repository {self._repository}; publish it there first"
            )
        return TritonBackend(
            self._address,
            version=number,
            labels=read_labels(bundle),
            bundle_sha256=sha256_of_file(bundle / BUNDLE_FILE),
        )
