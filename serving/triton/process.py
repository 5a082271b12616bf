"""One run of tritonserver with its stubs: started, watched through /proc, ended (stage 6).

Knows processes, signals and shared memory, and nothing of models or requests. Linux only, as Triton is.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from serving.process_states import StopWatch, name_and_state
from serving.triton import launcher

__all__ = ["TritonProcess", "open_private_log"]

_SHARED_MEMORY: Final = Path("/dev/shm")
_POLL_SECONDS: Final = 0.05
_KILL_SECONDS: Final = 5.0
_STUB_NAME: Final = "triton_python_b"  # The kernel keeps 15 characters of a process's name.


class TritonProcess:
    """A tritonserver that dies with this process, and owns one prefix in shared memory.

    The kernel sends the death signal when the *thread* that started the server ends, so make
    this object in a thread that lives as long as the server: the event loop's.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path, owner: str
    ) -> None:
        """Start the server, and free the shared memory that an earlier one of this owner left by a crash.

        Args:
            command: The server's path and its flags; the shared-memory prefix is added.
            environment: All its variables.
            folder: The working directory. The stub imports from it first, so it holds no Python.
            log: The file that gets what server and stubs print.
            owner: Who may run one such server at a time.
        """
        _free_shared_memory(f"chartloop-{owner}-")
        self._shm_prefix = f"chartloop-{owner}-{secrets.token_hex(4)}-"
        prefix_flag = f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}"
        launch = [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *command, prefix_flag]
        with open_private_log(log) as stream:
            # A session of its own: Ctrl-C in the terminal reaches the parent alone, which then stops in order.
            self._popen = subprocess.Popen(
                launch,
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watched: frozenset[int] | None = None
        self._stops = StopWatch()

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._popen.pid

    def watch(self, stubs: Collection[int]) -> None:
        """From now on, call only the death of these stubs a fault: Triton itself ends those of versions it drops."""
        self._watched = frozenset(stubs)

    def fault(self) -> str | None:
        """What is dead or stopped, if anything: the server, or a stub, which Triton itself does not notice."""
        code = self._popen.poll()
        if code is not None:
            return f"tritonserver ended with code {code}"
        if self._watched is None:
            stubs = [pid for pid, name, _ in _children(self.pid) if name == _STUB_NAME]
            is_dead = any(_state(pid, name=_STUB_NAME) == "Z" for pid in stubs)
        else:
            # Asked one by one: the list of children may pass one over while another ends.
            stubs = list(self._watched)
            is_dead = any(_state(pid, name=_STUB_NAME) in (None, "Z") for pid in stubs)
        if is_dead:
            return "the Python stub died"
        return "a process of Triton was stopped" if self._stops.is_any_stopped([self.pid, *stubs]) else None

    def stub_pids(self, folder: str = "") -> tuple[int, ...]:
        """The process ids of the living stubs, or of those whose command line names a folder."""
        alive = [pid for pid, name, state in _children(self.pid) if name == _STUB_NAME and state != "Z"]
        return tuple(pid for pid in alive if folder in _command_line(pid))

    async def end(self, *, grace_seconds: float) -> None:
        """Ask the server to finish what is in flight, then kill what is left and free its shared memory.

        Args:
            grace_seconds: How long it may take before it is killed.
        """
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        if not await self._ended_within(grace_seconds):
            self._popen.kill()
            await self._ended_within(_KILL_SECONDS)
        # The session holds only this server and its stubs, which outlive a killed server for a while.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        _free_shared_memory(self._shm_prefix)

    async def _ended_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._popen.poll() is None:
                    await asyncio.sleep(_POLL_SECONDS)
        return self._popen.poll() is not None


def _free_shared_memory(prefix: str) -> None:
    for region in _SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def _children(pid: int) -> Iterator[tuple[int, str, str]]:
    """The children of a process: id, name, state letter."""
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, listing.read_text().split()):
                if (found := name_and_state(child)) is not None:
                    yield child, *found


def _state(pid: int, *, name: str) -> str | None:
    """The state letter of a process of this name; None when there is none."""
    found = name_and_state(pid)
    return found[1] if found is not None and found[0] == name else None


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    return ""


@contextlib.contextmanager
def open_private_log(path: Path) -> Iterator[int]:
    """Open a log for appending that only its owner may read.

    Args:
        path: The file; its folder is made when absent.

    Yields:
        The file descriptor.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        yield descriptor
    finally:
        os.close(descriptor)
