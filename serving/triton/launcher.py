"""Becomes tritonserver, bound to the life of the process that asked for it (stage 6).

Run as a script. The kernel's death signal is set here, between fork and exec, in a process of
one thread: doing it in a ``preexec_fn`` would run Python in a fork of a process with gRPC's threads,
which can deadlock. The signal survives the exec. This module imports nothing of the package.
"""

import ctypes
import os
import signal
import sys

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ask for SIGTERM at the parent's death, then become the command.

    Args:
        arguments: The parent's process id, then the command with its arguments.
    """
    parent, *command = arguments
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit("prctl(PR_SET_PDEATHSIG) failed; Triton would outlive its parent")
    # The parent may have died before the signal was asked for.
    if os.getppid() != int(parent):
        sys.exit("the parent is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
