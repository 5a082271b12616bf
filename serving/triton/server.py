"""Runs the embedded Triton on loopback and keeps it running (stage 6).

Triton calls a model ready whose Python stub is dead, and binds its ports only after loading, so
nothing is believed here but a canary inference on a server with the identity that was given to it.
Two watches run side by side: one looks at the processes, which is cheap and finds a death at once;
one asks for scores, which finds whatever else keeps the model from answering. This module knows
nothing of the gateway; a server that somebody else runs needs only a ``TritonBackend``.
"""

import asyncio
import contextlib
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

from serving.backends import BackendError, BackendUnavailableError
from serving.triton.client import TritonBackend
from serving.triton.command import HOST, TritonCommand
from serving.triton.config import ModelConfig
from serving.triton.installation import find_triton
from serving.triton.process import TritonProcess
from serving.triton.versions import TritonVersions

__all__ = ["ServerState", "TritonServer", "TritonStartError"]

_POLL_SECONDS: Final = 0.1
_PROCESS_CHECK_SECONDS: Final = 0.25
_CANARY_INTERVAL_SECONDS: Final = 2.0
_CANARY_TIMEOUT_SECONDS: Final = 10.0
# A full queue, a slow answer or a canary that fails is no dead server; only one that answers nobody for so long.
_HUNG_AFTER_SECONDS: Final = 30.0
_FIRST_RESTART_DELAY_SECONDS: Final = 0.25
_MAX_RESTART_DELAY_SECONDS: Final = 60.0
_STABLE_AFTER_SECONDS: Final = 60.0  # Not in a crash loop: the next restart waits little again.
_STOP_GRACE_SECONDS: Final = 15.0

_log = structlog.get_logger(__name__)


class ServerState(StrEnum):
    """What the supervised server can be asked for now."""

    STARTING = "starting"
    READY = "ready"
    DOWN = "down"


class TritonStartError(BackendUnavailableError):
    """Triton was started and did not come to answer; its log says why."""


class TritonServer:
    """One supervised tritonserver that serves a version from a model repository, and for a while two.

    Call ``start`` in the event loop's thread, then run ``supervise`` as a task, and ``stop`` at the
    end. The server receives SIGTERM from the kernel when this process dies without stopping it.
    """

    def __init__(
        self,
        repository: Path,
        *,
        number: int,
        config: ModelConfig,
        data_dir: Path,
        grpc_port: int = 8001,
        metrics_port: int = 8002,
        start_timeout_seconds: float = 120.0,
    ) -> None:
        """Describe the server.

        Args:
            repository: The model repository that ``render_repository`` wrote.
            number: The version to serve.
            config: The model's configuration; which versions are served is written into it here.
            data_dir: Of one server at a time: its log and private backend directory go under ``triton/``.
            grpc_port: Port of the inference endpoint, on loopback.
            metrics_port: Port of Triton's Prometheus metrics, on loopback.
            start_timeout_seconds: How long loading may take before the start is given up.

        Raises:
            ValueError: The version is not in the repository.
        """
        self.log_path = data_dir.absolute() / "triton" / "server.log"
        self._versions = TritonVersions(repository, number=number, config=config, address=f"{HOST}:{grpc_port}")
        self._grpc_port = grpc_port
        self._command = TritonCommand(
            repository,
            folder=self.log_path.parent / "run",
            log=self.log_path,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            control=self._versions.control,
        )
        self._start_timeout_seconds = start_timeout_seconds
        self._state = ServerState.DOWN
        self.num_restarts = 0
        self._process: TritonProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def backend(self) -> TritonBackend:
        """The version that was loaded last."""
        return self._versions.newest

    @property
    def numbers(self) -> tuple[int, ...]:
        """The versions that are served, in the order of loading."""
        return self._versions.config.versions

    @property
    def state(self) -> ServerState:
        """Whether the server answers, is being started, or is down."""
        return self._state

    @property
    def process(self) -> TritonProcess | None:
        """The running server's process, if any."""
        return self._process

    async def start(self) -> None:
        """Start the server and wait until it answers a canary.

        Raises:
            ValueError: Triton is not installed or cannot run here, or a port is in use.
            TritonStartError: It ended, or did not answer in time; the message names the log.
        """
        assert self._process is None, "a server is started once, then stopped or supervised"
        self._state = ServerState.STARTING
        try:
            await self._start()
        except BaseException:
            self._state = ServerState.DOWN
            await self._end(grace_seconds=0)
            raise
        self._state = ServerState.READY

    async def supervise(self) -> None:
        """Restart the server whenever it dies or falls silent, until cancelled or stopped, whatever happens."""
        self._supervisor = asyncio.current_task()
        delay_seconds = _FIRST_RESTART_DELAY_SECONDS
        while True:
            try:
                delay_seconds = await self._replace_when_faulty(delay_seconds)
            except Exception as error:
                _log.error("triton_supervision_failed", error=type(error).__name__, next_try_seconds=delay_seconds)
                await asyncio.sleep(delay_seconds)
                delay_seconds = min(2 * delay_seconds, _MAX_RESTART_DELAY_SECONDS)

    async def stop(self) -> None:
        """End supervision, let requests in flight finish, end the server and close the channel."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None and not supervisor.done():
            supervisor.cancel()
            await asyncio.wait([supervisor])
        self._state = ServerState.DOWN
        await self._end(grace_seconds=_STOP_GRACE_SECONDS)
        await self._versions.close()

    async def load(self, number: int) -> TritonBackend:
        """Load another version from the repository beside those that answer, and ask it for a canary.

        Returns:
            The version, which answers. The others go on as before.

        Raises:
            ValueError: The version is not in the repository, or is served already.
            BackendUnavailableError: It does not load or does not answer; it is not kept then.
        """
        try:
            backend = await self._versions.add(number, timeout_seconds=self._start_timeout_seconds)
        except BackendError as error:
            raise BackendUnavailableError(f"{error}; see {self.log_path}") from None
        self._watch_stubs()
        return backend

    async def drop(self, backend: TritonBackend) -> None:
        """Let go of a version; the requests that it has are finished."""
        self._versions.forget(backend)
        # Before Triton ends its stub, which is no death.
        self._watch_stubs()
        await self._versions.tell()
        await backend.close()

    def _watch_stubs(self) -> None:
        process = self._process
        if process is not None:
            process.watch([pid for folder in self._versions.folders() for pid in process.stub_pids(folder)])

    async def _start(self) -> None:
        self._command.check_ports()
        installation = find_triton()
        await asyncio.to_thread(installation.check_stub)
        server_id = secrets.token_hex(8)
        self._process = self._command.run(installation, config=self._versions.config, server_id=server_id)
        try:
            async with asyncio.timeout(self._start_timeout_seconds):
                await self._until_it_answers(self._process, server_id=server_id)
        except TimeoutError:
            raise TritonStartError(
                f"Triton did not answer within {self._start_timeout_seconds:g} s of its start; see {self.log_path}"
            ) from None

    async def _until_it_answers(self, process: TritonProcess, *, server_id: str) -> None:
        while (found := await self._found_id()) is None:
            if (fault := process.fault()) is not None:
                raise TritonStartError(f"{fault} before it could answer; see {self.log_path}")
            await asyncio.sleep(_POLL_SECONDS)
        if found != server_id:
            raise ValueError(f"another server answers on port {self._grpc_port}; stop it, or choose another port")
        try:
            await self.backend.check(timeout_seconds=self._start_timeout_seconds)
        except BackendError as error:
            raise TritonStartError(f"Triton started, but {error}; see {self.log_path}") from None
        self._watch_stubs()

    async def _found_id(self) -> str | None:
        with contextlib.suppress(BackendError):
            return await self.backend.server_id(timeout_seconds=1.0)
        return None

    async def _first_fault(self) -> str:
        """Wait for the first thing that goes wrong, seen from either side."""
        watches = [asyncio.ensure_future(watch) for watch in (self._dead_process(), self._silence())]
        try:
            done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def _dead_process(self) -> str:
        while True:
            if self._process is None:
                return "Triton is not started"
            if (fault := self._process.fault()) is not None:
                return fault
            await asyncio.sleep(_PROCESS_CHECK_SECONDS)

    async def _silence(self) -> str:
        """Wait until neither the canary nor anybody else gets an answer any more."""
        clock = asyncio.get_running_loop().time
        last_sign, num_answers = clock(), -1
        while True:
            await asyncio.sleep(_CANARY_INTERVAL_SECONDS)
            backend = self.backend
            try:
                await backend.check(timeout_seconds=_CANARY_TIMEOUT_SECONDS)
                last_sign = clock()
            except BackendUnavailableError as error:
                # One that was dropped meanwhile tells nothing of the server.
                if backend is self.backend:
                    return str(error)
            except BackendError:
                with contextlib.suppress(BackendError):
                    before, num_answers = num_answers, await self.backend.num_answers(timeout_seconds=1.0)
                    last_sign = clock() if num_answers > before else last_sign
                if (silent_seconds := clock() - last_sign) > _HUNG_AFTER_SECONDS:
                    return f"no request was answered for {silent_seconds:.0f} s"

    async def _replace_when_faulty(self, delay_seconds: float) -> float:
        clock = asyncio.get_running_loop().time
        started = clock()
        reason = await self._first_fault()
        self._state = ServerState.DOWN
        _log.warning("triton_down", reason=reason, num_restarts=self.num_restarts)
        # Whoever waits for an answer is told at once, and asks elsewhere; a stopped server would keep them all.
        await self._versions.close()
        await self._end(grace_seconds=0)
        if clock() - started > _STABLE_AFTER_SECONDS:
            delay_seconds = _FIRST_RESTART_DELAY_SECONDS
        return await self._restart(delay_seconds)

    async def _restart(self, delay_seconds: float) -> float:
        """Try until the server answers again; return how long to wait should it die again soon."""
        while True:
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(2 * delay_seconds, _MAX_RESTART_DELAY_SECONDS)
            try:
                await self.start()
            except (BackendError, ValueError, OSError) as error:
                _log.error("triton_restart_failed", reason=str(error), next_try_seconds=delay_seconds)
            else:
                self.num_restarts += 1
                _log.info("triton_restarted", num_restarts=self.num_restarts)
                return delay_seconds

    async def _end(self, *, grace_seconds: float) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.end(grace_seconds=grace_seconds)
