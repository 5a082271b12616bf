"""Processes killed and stopped, and a clock that jumps."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Final

from scripts.faults.servers import Harmed
from scripts.faults.watching import Watch

__all__ = ["FAKETIME", "harm_process", "jump_clock"]

FAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_RECOVERY_SECONDS: Final = 60.0


async def harm_process(harmed: Harmed, watch: Watch, *, part: str, signal_number: signal.Signals) -> float:
    """Kill or stop all processes of a part, and wait until the gateway is well again; gives the time of the harm."""
    await asyncio.sleep(3)
    before = set(harmed.pids(part))
    harmed_at = time.monotonic()
    for pid in before:
        os.kill(pid, signal_number)
    give_up_at = harmed_at + _RECOVERY_SECONDS
    while time.monotonic() < give_up_at:
        await asyncio.sleep(0.2)
        noticed = watch.first(("degraded", "down"), after=harmed_at)
        if noticed is not None and watch.first(("ready",), after=harmed_at + noticed) is not None:
            break
        if part == "worker" and set(harmed.pids(part)) - before:
            break
    await asyncio.sleep(2)
    return harmed_at


async def jump_clock(offsets: Path) -> float:
    """Let a server that was started with libfaketime live an hour ahead, then two hours behind."""
    await asyncio.sleep(3)
    harmed_at = time.monotonic()
    for offset in ("+3600", "-7200", "+0"):
        offsets.write_text(f"{offset}\n")
        await asyncio.sleep(4)
    return harmed_at
