"""The worker processes of ``serve``: one for each loaded version, and how they are counted."""

from pathlib import Path

from governance.versions import ResolvedVersion
from serving.fallback.client import FallbackBackend
from serving.fallback.settings import FallbackSettings
from serving.gateway.app import Gauges

__all__ = ["Workers"]


class Workers:
    """Starts workers, and ends whatever it started."""

    def __init__(self, settings: FallbackSettings, *, log_path: Path) -> None:
        self._settings = settings
        self._log_path = log_path
        self._running: list[FallbackBackend] = []
        self._num_past_restarts = 0

    async def start(self, resolved: ResolvedVersion) -> FallbackBackend:
        """Start one, which begins to load unless it is to stay cold until needed."""
        worker = FallbackBackend(
            resolved.folder,
            bundle_sha256=resolved.version.bundle_sha256,
            settings=self._settings,
            log_path=self._log_path,
        )
        self._running.append(worker)
        await worker.start()
        return worker

    async def stop(self, worker: FallbackBackend) -> None:
        """End one."""
        if worker in self._running:
            self._running.remove(worker)
            self._num_past_restarts += worker.num_restarts
            await worker.stop()

    async def stop_all(self) -> None:
        """End all that run."""
        for worker in tuple(self._running):
            await self.stop(worker)

    def gauges(self) -> Gauges:
        """What is told of them, over all versions."""
        return {
            "worker_restarts": (
                "Times a worker process was started again.",
                lambda: self._num_past_restarts + sum(worker.num_restarts for worker in self._running),
            ),
            "worker_waiting": (
                "Requests that wait for a worker process.",
                lambda: sum(worker.num_waiting for worker in self._running),
            ),
        }
