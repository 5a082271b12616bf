"""The gateway's side of the fallback worker: starts it, speaks with it, starts it again when it dies.

Implements ``serving.backends.Backend`` without importing the model: the forward lives in the worker.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from clinical_coding.records import Note
from serving.backends import (
    BackendUnavailableError,
    DeadlineExceededError,
    InvalidInputError,
    Priority,
    QueueFullError,
    RequestFailedError,
    ScoredCodes,
)
from serving.fallback.messages import Answer, Cancel, Failure, Ready, Score, frame, messages_from_worker
from serving.fallback.settings import FallbackSettings
from serving.process_states import StopWatch

__all__ = ["FallbackBackend", "FallbackState"]

FallbackState = Literal["cold", "loading", "warm", "stopped"]
# A worker that is asked to end does so at once, unless it is stopped.
_END_TIMEOUT_SECONDS: Final = 5.0
_STOP_CHECK_SECONDS: Final = 0.25
_log = structlog.get_logger(__name__)


class FallbackBackend:
    """Scores notes in a worker process of its own.

    All methods belong to one event loop. ``start`` first, ``stop`` last.
    """

    def __init__(self, bundle: Path, *, bundle_sha256: str, settings: FallbackSettings, log_path: Path) -> None:
        """Describe the worker; nothing starts yet.

        Args:
            bundle: The version's bundle folder.
            bundle_sha256: The hash that the worker must report of it.
            settings: How it runs; mode ``off`` has no backend at all.
            log_path: Where the worker's own output goes, such as a library's warnings.
        """
        assert settings.mode != "off"
        self._bundle = bundle
        self._bundle_sha256 = bundle_sha256
        self._settings = settings
        self._log_path = log_path
        self._numbers = itertools.count()
        self._pending: dict[int, asyncio.Future[ScoredCodes]] = {}
        self._wanted = asyncio.Event()
        self._warm = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._fault: str | None = None
        self.num_restarts = 0

    @property
    def state(self) -> FallbackState:
        """Where the worker stands."""
        if self._supervisor is None:
            return "stopped"
        if self._warm.is_set():
            return "warm"
        return "loading" if self._wanted.is_set() else "cold"

    @property
    def num_waiting(self) -> int:
        """Requests that have been sent and not answered."""
        return len(self._pending)

    @property
    def pid(self) -> int | None:
        """Process id of the running worker."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Begin supervising; in mode ``warm`` the worker starts loading now."""
        if self._settings.mode == "warm":
            self._wanted.set()
        self._supervisor = asyncio.create_task(self._supervise(), name="fallback-supervisor")

    async def wait_until_warm(self, *, timeout_seconds: float) -> None:
        """Wait for the model to be loaded.

        Raises:
            BackendUnavailableError: The worker failed to load, and why; or the time ran out.
        """
        self._wanted.set()
        try:
            async with asyncio.timeout(timeout_seconds):
                while not self._warm.is_set():
                    if self._fault:
                        raise BackendUnavailableError(f"the fallback worker cannot start: {self._fault}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise BackendUnavailableError(
                f"the fallback worker did not load within {timeout_seconds:g} s; see {self._log_path.name}"
            ) from None

    async def stop(self) -> None:
        """End the worker and fail what waits for it."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            # Not awaited itself: its cancellation would pass for that of whoever waits here.
            await asyncio.wait({supervisor})
        await self._end_process()

    async def score(
        self, notes: Sequence[Note], *, timeout_seconds: float, priority: Priority = Priority.INTERACTIVE
    ) -> ScoredCodes:
        """Score the notes; see ``serving.backends.Backend``. A cold worker is loaded within the deadline."""
        if self._supervisor is None:
            raise BackendUnavailableError("the fallback worker is stopped")
        # Bulk leaves half of the places to people.
        share = 2 if priority is Priority.BULK else 1
        if len(self._pending) >= max(self._settings.max_waiting // share, 1):
            raise QueueFullError(f"{len(self._pending)} requests wait for the fallback worker")
        number = next(self._numbers)
        answer: asyncio.Future[ScoredCodes] = asyncio.get_running_loop().create_future()
        self._pending[number] = answer
        try:
            async with asyncio.timeout(timeout_seconds) as deadline:
                await self._wait_for_worker(answer)
                expires_at = deadline.when()
                assert expires_at is not None
                remaining_seconds = max(expires_at - asyncio.get_running_loop().time(), 0.0)
                self._send(
                    Score(number=number, notes=tuple(notes), timeout_seconds=remaining_seconds, priority=priority)
                )
                return await answer
        except TimeoutError:
            self._send(Cancel(number=number))
            raise DeadlineExceededError(f"the fallback worker did not answer within {timeout_seconds:g} s") from None
        except asyncio.CancelledError:
            self._send(Cancel(number=number))
            raise
        finally:
            del self._pending[number]
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # Read, so that a failure that came too late is not reported as lost.

    async def _wait_for_worker(self, answer: asyncio.Future[ScoredCodes]) -> None:
        if self._warm.is_set():
            return
        if self._fault:
            raise BackendUnavailableError(f"the fallback worker is being started again: {self._fault}")
        self._wanted.set()
        warm = asyncio.create_task(self._warm.wait())
        either: set[asyncio.Future[Any]] = {warm, answer}
        try:
            # The answer is done before it was asked for only when the worker died while loading.
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            warm.cancel()
        if answer.done():
            answer.result()

    def _send(self, message: Score | Cancel) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame(message))

    async def _supervise(self) -> None:
        delay_seconds = self._settings.restart_delay_seconds
        while True:
            await self._wanted.wait()
            was_warm = False
            try:
                was_warm = await self._run_once()
            except Exception as error:
                _log.error("fallback-supervision-failed", error=type(error).__name__)
            self.num_restarts += 1
            if was_warm:
                delay_seconds = self._settings.restart_delay_seconds
            _log.warning("fallback-worker-ended", fault=self._fault, restart_in_seconds=delay_seconds)
            if self._settings.mode == "cold":
                self._wanted.clear()
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(2 * delay_seconds, self._settings.max_restart_delay_seconds)
            self._fault = None  # From here a new attempt is made, and requests may wait for it.

    async def _run_once(self) -> bool:
        """Run one worker until it ends; whatever happens, no process and no waiting request is left."""
        was_warm = False
        watching: asyncio.Task[None] | None = None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await self._spawn(theirs)
            reader, self._writer = await asyncio.open_connection(sock=ours)
            watching = asyncio.create_task(self._end_when_stopped(), name="fallback-stop-watch")
            async for message in messages_from_worker(reader):
                self._receive(message)
                was_warm = was_warm or self._warm.is_set()
                if self._fault:
                    break
        finally:
            if watching is not None:
                watching.cancel()
            self._warm.clear()
            self._fault = self._fault or "it died"
            self._fail_pending(BackendUnavailableError(f"the fallback worker cannot answer: {self._fault}"))
            writer, self._writer = self._writer, None
            writer.close() if writer is not None else ours.close()
            await self._end_process()
        return was_warm

    async def _end_when_stopped(self) -> None:
        """Kill a worker that was stopped: its socket stays open, and it would keep all who wait."""
        stops = StopWatch()
        while self._process is not None:
            if stops.is_any_stopped([self._process.pid]):
                self._fault = "it was stopped"
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                return
            await asyncio.sleep(_STOP_CHECK_SECONDS)

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        settings = self._settings
        # -P keeps the current folder, which may hold anything, off the module path.
        command = [sys.executable, "-P", "-m", "serving.fallback.worker", f"--socket={theirs.fileno()}"]
        command += [f"--bundle={self._bundle}", f"--max-batch-size={settings.max_batch_size}"]
        command += [f"--max-batch-characters={settings.max_batch_characters}"]
        command += [f"--num-threads={settings.num_threads}"] if settings.num_threads else []
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # A session of its own: Ctrl-C in the terminal must not end it before the last request is answered.
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        finally:
            os.close(descriptor)

    def _receive(self, message: Ready | Answer | Failure) -> None:
        if isinstance(message, Ready):
            if message.bundle_sha256 == self._bundle_sha256:
                self._warm.set()
            else:
                self._fault = "it loaded another bundle than the version's"
        elif message.number is None:
            self._fault = message.message
        else:
            self._resolve(message.number, message)

    def _resolve(self, number: int, message: Answer | Failure) -> None:
        answer = self._pending.get(number)
        if answer is None or answer.done():
            return
        if isinstance(message, Answer):
            answer.set_result(ScoredCodes(message.codes, message.timings))
        elif message.reason == "invalid":
            answer.set_exception(InvalidInputError(f"the model refused the notes ({message.message})"))
        else:
            answer.set_exception(RequestFailedError(f"the worker failed at these notes ({message.message})"))

    def _fail_pending(self, error: BackendUnavailableError) -> None:
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(error)

    async def _end_process(self) -> None:
        """End the worker, which has nothing to save. Safe to call again, and twice at once."""
        if (process := self._process) is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_END_TIMEOUT_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        self._process = None
