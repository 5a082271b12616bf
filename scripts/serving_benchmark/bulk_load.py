"""A stream of bulk work that never ends, written and read at once over one connection."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from scripts.serving_benchmark.gateway_server import Gateway, encounter

__all__ = ["BulkLoad", "bulk_load"]

_ANSWERED: Final = b'"suggestion"'
_MAX_LINE_BYTES: Final = 2**24


@dataclass(slots=True)
class BulkLoad:
    """How far it is."""

    num_answered: int = 0


@asynccontextmanager
async def bulk_load(server: Gateway, texts: Sequence[str]) -> AsyncIterator[BulkLoad]:
    """Send texts over and over, as fast as the gateway takes them, until the block ends.

    Raises:
        ValueError: The gateway refused the stream.
    """
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=_MAX_LINE_BYTES)
    headers = {"Host": address.netloc, "Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}
    lines = [f"{name}: {value}" for name, value in (headers | server.headers()).items()]
    writer.write("\r\n".join(["POST /v1/suggestions/bulk HTTP/1.1", *lines, "", ""]).encode())
    load = BulkLoad()
    tasks = [asyncio.create_task(_send(writer, texts)), asyncio.create_task(_receive(reader, load))]
    try:
        yield load
        for task in tasks:
            if task.done():
                task.result()
                raise ValueError("the bulk stream ended early")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()


async def _send(writer: asyncio.StreamWriter, texts: Sequence[str]) -> None:
    for text in itertools.cycle(texts):
        line = json.dumps(encounter(text)).encode() + b"\n"
        writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        await writer.drain()


async def _receive(reader: asyncio.StreamReader, load: BulkLoad) -> None:
    status = await reader.readline()
    if b" 200 " not in status:
        raise ValueError(f"the gateway refused the bulk stream: {status.decode().strip()}")
    while line := await reader.readline():
        load.num_answered += _ANSWERED in line
