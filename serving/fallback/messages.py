"""What the gateway and the fallback worker say to each other over one socket.

A frame is four bytes of length, big-endian, and that many bytes of JSON. Frames never touch a
disk and never leave the machine: the socket is an unnamed pair that only the two processes hold.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Note
from serving.backends import Priority, Timings

__all__ = [
    "FRAME_HEADER",
    "Answer",
    "Cancel",
    "Failure",
    "FromWorker",
    "Ready",
    "Score",
    "ToWorker",
    "frame",
    "messages_from_worker",
    "read_to_worker",
]

FRAME_HEADER: Final = struct.Struct(">I")


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Message):
    """Gateway to worker: score these notes."""

    kind: Literal["score"] = "score"
    number: int
    notes: tuple[Note, ...]
    timeout_seconds: float
    """How long the gateway waits from now on; later, the work is dropped unread."""
    priority: Priority = Priority.INTERACTIVE


class Cancel(_Message):
    """Gateway to worker: nobody waits for this any more."""

    kind: Literal["cancel"] = "cancel"
    number: int


class Ready(_Message):
    """Worker to gateway: the model is loaded and warm."""

    kind: Literal["ready"] = "ready"
    bundle_sha256: str


class Answer(_Message):
    """Worker to gateway: the scored codes."""

    kind: Literal["answer"] = "answer"
    number: int
    codes: tuple[PredictedCode, ...]
    timings: Timings


class Failure(_Message):
    """Worker to gateway: no answer, and why; without a number the worker itself cannot go on."""

    kind: Literal["failure"] = "failure"
    number: int | None
    reason: Literal["invalid", "failed"]
    message: str
    """Never clinical text: the bare name of an exception, once notes have been seen."""


ToWorker = Annotated[Score | Cancel, Field(discriminator="kind")]
FromWorker = Annotated[Ready | Answer | Failure, Field(discriminator="kind")]

_TO_WORKER: Final[TypeAdapter[ToWorker]] = TypeAdapter(ToWorker)
_FROM_WORKER: Final[TypeAdapter[FromWorker]] = TypeAdapter(FromWorker)


def frame(message: Score | Cancel | Ready | Answer | Failure) -> bytes:
    """Write a message as one frame."""
    body = message.model_dump_json().encode()
    return FRAME_HEADER.pack(len(body)) + body


def read_to_worker(body: bytes) -> Score | Cancel:
    """Read the body of a frame that the gateway sent."""
    return _TO_WORKER.validate_json(body)


async def messages_from_worker(reader: asyncio.StreamReader) -> AsyncIterator[Ready | Answer | Failure]:
    """Read what the worker sends, until its end of the socket closes."""
    while True:
        try:
            header = await reader.readexactly(FRAME_HEADER.size)
            body = await reader.readexactly(FRAME_HEADER.unpack(header)[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        yield _FROM_WORKER.validate_json(body)
