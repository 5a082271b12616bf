"""Who runs the model for ``serve``: an embedded Triton, another's Triton, or the worker alone (stages 6, 7).

All look the same from outside: open a version, beside those that are open; close one. Opening either
gives a version that has answered a canary, or fails and undoes what it began; a Triton that is slow to load
may hold the version in memory until its next change.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from clinical_coding.bundle import read_labels
from governance.versions import ResolvedVersion
from serving.backends import Backend
from serving.claims import HOST, choose_ports
from serving.fallback.client import FallbackBackend
from serving.gateway.app import Gauges
from serving.settings import TritonSettings
from serving.triton.config import TritonTls
from serving.workers import Workers

if TYPE_CHECKING:
    from serving.triton.client import TritonBackend
    from serving.triton.server import TritonServer

__all__ = ["EmbeddedTriton", "ExternalTriton", "Host", "LocalHost", "OpenVersion", "TritonHost"]

_LOAD_TIMEOUT_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, eq=False)
class OpenVersion:
    """A version that answers."""

    resolved: ResolvedVersion
    primary: Backend
    fallback: FallbackBackend | None


class Host(Protocol):
    """Anything that can run versions."""

    async def open(self, resolved: ResolvedVersion) -> OpenVersion:
        """Load a version and wait until it answers; the open ones go on answering.

        Raises:
            BackendError: It does not come to answer.
            ValueError: Its bundle is damaged, or a port is in use.
            OSError: A file cannot be written.
        """
        ...

    async def close(self, version: OpenVersion) -> None:
        """Let go of a version that nobody asks any more, while another one is open."""
        ...

    async def stop(self) -> None:
        """End everything that was started."""
        ...

    def gauges(self) -> Gauges:
        """What is told of it at ``/metrics``."""
        ...

    def describe(self, version: OpenVersion) -> str:
        """Say where a version runs, for the ready line."""
        ...


class LocalHost:
    """The worker process alone."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def open(self, resolved: ResolvedVersion) -> OpenVersion:
        """Start a worker and wait until it is warm."""
        worker = await self._workers.start(resolved)
        try:
            await worker.wait_until_warm(timeout_seconds=_LOAD_TIMEOUT_SECONDS)
        except BaseException:
            await self._workers.stop(worker)
            raise
        return OpenVersion(resolved, primary=worker, fallback=None)

    async def close(self, version: OpenVersion) -> None:
        """End its worker."""
        assert isinstance(version.primary, FallbackBackend)
        await self._workers.stop(version.primary)

    async def stop(self) -> None:
        """End the workers."""
        await self._workers.stop_all()

    def gauges(self) -> Gauges:
        """The workers'."""
        return self._workers.gauges()

    def describe(self, version: OpenVersion) -> str:
        """Always the same."""
        return "local worker"


class TritonHost:
    """Triton, and a standby worker where one is wanted."""

    def __init__(
        self, triton: "EmbeddedTriton | ExternalTriton", *, workers: Workers | None, waits_for_worker: bool
    ) -> None:
        """Join the two.

        Args:
            triton: Who answers.
            workers: Who answers in its place; none when None.
            waits_for_worker: A version is open only when its worker is warm.
        """
        self._triton = triton
        self._workers = workers
        self._waits_for_worker = waits_for_worker
        self._num_opened = 0

    async def open(self, resolved: ResolvedVersion) -> OpenVersion:
        """Load it in Triton, and start its worker."""
        async with AsyncExitStack() as undo:
            worker = None
            # At first nobody is being answered, and both load at once; later the processors are needed for answers.
            if self._num_opened == 0:
                worker = await self._start_worker(resolved, undo=undo)
            primary = await self._triton.load(resolved)
            undo.push_async_callback(self._triton.drop, primary)
            if self._num_opened > 0:
                worker = await self._start_worker(resolved, undo=undo)
            if worker is not None and self._waits_for_worker:
                await worker.wait_until_warm(timeout_seconds=_LOAD_TIMEOUT_SECONDS)
            undo.pop_all()
        self._num_opened += 1
        return OpenVersion(resolved, primary=primary, fallback=worker)

    async def close(self, version: OpenVersion) -> None:
        """Drop it from Triton, and end its worker."""
        await self._triton.drop(version.primary)
        if self._workers is not None and version.fallback is not None:
            await self._workers.stop(version.fallback)

    async def stop(self) -> None:
        """End Triton, then the workers, which answer in its place until then."""
        await self._triton.stop()
        if self._workers is not None:
            await self._workers.stop_all()

    def gauges(self) -> Gauges:
        """Triton's and the workers'."""
        return {**self._triton.gauges(), **(self._workers.gauges() if self._workers else {})}

    def describe(self, version: OpenVersion) -> str:
        """Triton's address, and how the worker stands."""
        return f"triton {self._triton.address}; fallback {version.fallback.state if version.fallback else 'off'}"

    async def _start_worker(self, resolved: ResolvedVersion, *, undo: AsyncExitStack) -> FallbackBackend | None:
        if self._workers is None:
            return None
        worker = await self._workers.start(resolved)
        undo.push_async_callback(self._workers.stop, worker)
        return worker


class ExternalTriton:
    """A Triton that somebody else runs: a version is opened once it answers there.

    Whoever runs it loads the version under its number and drops old ones; here it is only asked.
    """

    def __init__(self, address: str, *, timeout_seconds: float, tls: TritonTls | None = None) -> None:
        self.address = address
        self._tls = tls
        self._timeout_seconds = timeout_seconds
        self._open: list[TritonBackend] = []

    async def load(self, resolved: ResolvedVersion) -> Backend:
        """Ask the version for a canary."""
        from serving.triton.client import TritonBackend

        labels = await asyncio.to_thread(read_labels, resolved.folder)
        backend = TritonBackend(
            self.address,
            version=_number(resolved),
            labels=labels,
            bundle_sha256=resolved.version.bundle_sha256,
            tls=self._tls,
        )
        try:
            await backend.check(timeout_seconds=self._timeout_seconds)
        except BaseException:
            await backend.close()
            raise
        self._open.append(backend)
        return backend

    async def drop(self, backend: Backend) -> None:
        """Close the channel."""
        for one in [one for one in self._open if one is backend]:
            self._open.remove(one)
            await one.close()

    async def stop(self) -> None:
        """Close all channels."""
        for backend in tuple(self._open):
            await self.drop(backend)

    def gauges(self) -> Gauges:
        """None: its own metrics tell."""
        return {}


class EmbeddedTriton:
    """A Triton that is started here, for the first version, and told of the others."""

    def __init__(self, settings: TritonSettings, *, repository: Path, data_dir: Path, ports: tuple[int, int]) -> None:
        """Describe it.

        Args:
            settings: How it runs the model.
            repository: The model repository.
            data_dir: Where its log goes.
            ports: Of gRPC and of its own metrics; a free one for each 0.
        """
        self._repository = repository
        self._data_dir = data_dir
        self._ports = choose_ports(ports)
        self._start_timeout_seconds = settings.start_timeout_seconds
        self._config = settings.model_configuration()
        self._server: TritonServer | None = None
        self._supervision: asyncio.Task[None] | None = None
        self.address = f"{HOST}:{self._ports[0]}"

    async def load(self, resolved: ResolvedVersion) -> Backend:
        """Start Triton with the version, or load it beside those that it serves."""
        from serving.triton.repository import render_version

        number = _number(resolved)
        if self._server is not None and number in self._server.numbers:
            raise ValueError(f"version {number} is served with another bundle; start `chartloop serve` anew")
        await asyncio.to_thread(render_version, self._repository, bundle=resolved.folder, number=number)
        if self._server is not None:
            return await self._server.load(number)
        return await self._start(number)

    async def drop(self, backend: Backend) -> None:
        """Let go of a version, but for the last one, which ends with the server."""
        from serving.triton.client import TritonBackend

        assert isinstance(backend, TritonBackend)
        if self._server is not None and len(self._server.numbers) > 1:
            await self._server.drop(backend)

    async def stop(self) -> None:
        """End supervision and Triton."""
        if self._supervision is not None:
            self._supervision.cancel()
        if self._server is not None:
            await self._server.stop()

    def gauges(self) -> Gauges:
        """How often it was started again."""
        server = self._server
        return {"triton_restarts": ("Times Triton was started again.", lambda: server.num_restarts if server else 0)}

    async def _start(self, number: int) -> Backend:
        from serving.triton.server import TritonServer

        self._server = TritonServer(
            self._repository,
            number=number,
            config=self._config,
            data_dir=self._data_dir,
            grpc_port=self._ports[0],
            metrics_port=self._ports[1],
            start_timeout_seconds=self._start_timeout_seconds,
        )
        await self._server.start()
        self._supervision = asyncio.create_task(self._server.supervise(), name="triton-supervision")
        return self._server.backend


def _number(resolved: ResolvedVersion) -> int:
    # A bundle that is served from its path has no number; any will do.
    return resolved.version.number or 1
