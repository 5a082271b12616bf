"""Requests cut into bodies that can be sent whole before an answer is read.

HTTP/1.1 clients send first and read later; a gateway that answers meanwhile would wait for them to read, and
they for it. A body that fits the buffers between them cannot come to that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from clinical_coding.suggestions import SuggestionRequest

__all__ = ["Chunk", "cut"]

# What a server holds of a body before its application asks for more.
_MAX_BYTES: Final = 60_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive requests."""

    num_before: int
    """Requests of the chunks before it."""
    num_requests: int
    content: bytes
    """One request a line."""


def cut(requests: Iterable[SuggestionRequest]) -> Iterator[Chunk]:
    """Cut requests into chunks; one that is larger than a chunk is one by itself."""
    num_before, num_bytes = 0, 0
    held: list[bytes] = []
    for request in requests:
        line = request.model_dump_json(exclude_none=True).encode() + b"\n"
        if held and num_bytes + len(line) > _MAX_BYTES:
            yield Chunk(num_before, len(held), b"".join(held))
            num_before, num_bytes, held = num_before + len(held), 0, []
        held.append(line)
        num_bytes += len(line)
    if held:
        yield Chunk(num_before, len(held), b"".join(held))
