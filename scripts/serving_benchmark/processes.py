"""Servers in processes of their own: started, found ready, their processor time and memory read, ended."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

import httpx
import psutil

__all__ = ["CpuTime", "ProcessTree", "end_servers_with_us", "free_port", "started", "tail"]

_START_TIMEOUT_SECONDS: Final = 180.0
_END_TIMEOUT_SECONDS: Final = 60.0
_TOLD: Final = 2000


def end_servers_with_us() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that what it started ends first."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def tail(log: IO[str]) -> str:
    """The end of a log."""
    log.seek(0)
    return log.read()[-_TOLD:]


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Processor time, in seconds, of the client, which is this process, and of a server's processes."""

    client_seconds: float
    server_seconds: float

    def since(self, before: "CpuTime") -> "CpuTime":
        """What was spent after another reading."""
        return CpuTime(self.client_seconds - before.client_seconds, self.server_seconds - before.server_seconds)


@dataclass(frozen=True, slots=True)
class ProcessTree:
    """A process and all that it started."""

    root: psutil.Process

    def processes(self) -> list[psutil.Process]:
        """Those that live."""
        try:
            return [self.root, *self.root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_time(self) -> CpuTime:
        """Spent so far."""
        spent = 0.0
        for process in self.processes():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            spent += times.user + times.system
        own = os.times()
        return CpuTime(own.user + own.system, spent)

    def end(self) -> None:
        """End it, its descendants too."""
        left = self.processes()
        try:
            self.root.send_signal(signal.SIGTERM)
            self.root.wait(_END_TIMEOUT_SECONDS)
        except (psutil.NoSuchProcess, psutil.TimeoutExpired):
            pass
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=_END_TIMEOUT_SECONDS)


@contextmanager
def started(command: Sequence[str], *, health_url: str, environment: dict[str, str]) -> Iterator[ProcessTree]:
    """Run a server until it answers its health path, and end it afterwards.

    Args:
        command: How to start it.
        health_url: Answers 200 once it is ready.
        environment: Variables beside the inherited ones.

    Raises:
        ValueError: It did not come to answer.
    """
    with tempfile.TemporaryFile("w+") as log:
        # Its own group: a Ctrl-C here reaches it through `end` alone.
        process = subprocess.Popen(
            command, stdout=log, stderr=log, text=True, env=os.environ | environment, start_new_session=True
        )
        tree = ProcessTree(psutil.Process(process.pid))
        try:
            if (
                not _comes_true(lambda: process.poll() is not None or _answers(health_url))
                or process.poll() is not None
            ):
                raise ValueError(f"{' '.join(command[:4])} did not start:\n{tail(log)}")
            yield tree
        finally:
            tree.end()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _comes_true(condition: Callable[[], bool]) -> bool:
    give_up_at = time.monotonic() + _START_TIMEOUT_SECONDS
    while time.monotonic() < give_up_at:
        if condition():
            return True
        time.sleep(0.2)
    return False
