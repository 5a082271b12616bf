"""What a running ``serve`` claims for itself alone: its data directory and its port."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from clinical_coding.data_directory import DataDirectory

__all__ = ["HOST", "choose_ports", "claim_data_directory", "claim_port"]

HOST: Final = "127.0.0.1"
_BACKLOG: Final = 2048


@contextmanager
def claim_data_directory(data: DataDirectory) -> Iterator[None]:
    """Hold the data directory. The system lets go of the lock when its holder dies, however it dies.

    Raises:
        ValueError: Another process holds it, or it cannot be written.
    """
    try:
        data.root.mkdir(parents=True, exist_ok=True)
        stream = (data.root / ".serve.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise ValueError(
            f"data directory {data.root} cannot be written ({error.strerror}); name another with --data-dir"
        ) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise ValueError(
                f"data directory {data.root} is being served by process {stream.read().strip() or 'unknown'}; "
                "stop that one, or name another with --data-dir"
            ) from None
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield


@contextmanager
def claim_port(port: int, *, host: str = HOST) -> Iterator[socket.socket]:
    """Take the gateway's port before anything slow starts.

    Raises:
        ValueError: It is in use, or is no port.
    """
    # The protocol is named, since asyncio sends small answers at once only on connections that name it;
    # others wait some 40 ms for the client's delayed acknowledgement (RFC 9293, section 3.7.4).
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ValueError(
                f"port {port}, for the gateway, cannot be opened on {host} ({reason}); "
                "stop what holds it, or choose another with --port"
            ) from None
        yield listener


def choose_ports(ports: tuple[int, ...]) -> tuple[int, ...]:
    """Put a free port in the place of each 0, all different: Triton takes no 0 for two ports at once."""
    with ExitStack() as held:
        chosen = []
        for port in ports:
            if port == 0:
                # Held until all are chosen, so that none is chosen twice.
                probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                probe.bind((HOST, 0))
                port = probe.getsockname()[1]
            chosen.append(port)
    return tuple(chosen)
