"""Lines out of a body that comes in pieces; a line that is too long costs its own place, and no more."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

__all__ = ["Line", "read_lines"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not empty."""

    number: int
    """From 1; empty lines count."""
    content: bytes | None
    """Without its end; None when it is too long."""


async def read_lines(pieces: AsyncIterator[bytes], *, max_bytes: int) -> AsyncIterator[Line]:
    """Cut a stream into lines.

    Args:
        pieces: As they come.
        max_bytes: Of a line; no more than that and one piece is held.

    Yields:
        The lines that are not empty.
    """
    number, held, is_too_long = 1, bytearray(), False
    async for piece in pieces:
        held += piece
        while (end := held.find(b"\n")) >= 0:
            line = _line(number, held[:end], max_bytes=max_bytes, is_too_long=is_too_long)
            del held[: end + 1]
            number, is_too_long = number + 1, False
            if line is not None:
                yield line
        if len(held) > max_bytes:
            held.clear()
            is_too_long = True
    line = _line(number, held, max_bytes=max_bytes, is_too_long=is_too_long)
    if line is not None:
        yield line


def _line(number: int, content: bytearray, *, max_bytes: int, is_too_long: bool) -> Line | None:
    if is_too_long or len(content) > max_bytes:
        return Line(number, None)
    stripped = bytes(content.strip())
    return Line(number, stripped) if stripped else None
