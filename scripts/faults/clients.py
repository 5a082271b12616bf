"""Clients that are slow, that vanish, that send what nobody can read, and far too many at once."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from scripts.faults.servers import Harmed
from scripts.serving_benchmark.gateway_server import encounter

__all__ = ["crowd", "send_bad_bodies", "send_slowly", "vanish"]

_NUM_CONNECTIONS: Final = 50
_NUM_AT_ONCE: Final = 200


async def send_slowly(harmed: Harmed) -> dict[str, Any]:
    """Open connections that send half a request and fall silent; tell how the gateway ended them."""
    ended: Counter[str] = Counter()

    async def one(head: bytes) -> None:
        reader, writer = await _connect(harmed)
        writer.write(head)
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                answer = await reader.read(64)
                ended[answer.split(b"\r\n")[0].decode() or "closed"] += 1
        writer.close()

    whole_head = _head(harmed, length=500)
    heads = [whole_head + b'{"record_id"', whole_head[:40]]
    await asyncio.gather(*(one(heads[at % 2]) for at in range(_NUM_CONNECTIONS)))
    return {"ended": dict(ended)}


async def vanish(harmed: Harmed) -> dict[str, Any]:
    """Ask, and be gone before the answer."""
    body = json.dumps(encounter("Patient with chest pain and diabetes. " * 100)).encode()
    for _ in range(_NUM_CONNECTIONS):
        _, writer = await _connect(harmed)
        writer.write(_head(harmed, length=len(body)) + body)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()
    return {"vanished": _NUM_CONNECTIONS}


async def send_bad_bodies(harmed: Harmed) -> dict[str, Any]:
    """Send bodies that are malformed, huge, deeply nested, not UTF-8; each must be refused with a reason."""
    sound = json.dumps(encounter("Chest pain."))
    bodies: dict[str, bytes] = {
        "malformed": b'{"record_id": ',
        "huge": json.dumps(encounter("a" * 2_000_000)).encode(),
        "deeply nested": b"[" * 100_000 + b"]" * 100_000,
        "nested in a field": sound.replace('"family-medicine"', "[" * 5_000 + "]" * 5_000).encode(),
        "not UTF-8": sound.encode().replace(b"Chest", b"\xff\xfe"),
        "lone surrogate": sound.replace("Chest", "\\ud800").encode(),
        "null characters": sound.replace("Chest", "\\u0000").encode(),
        "numbers beyond bounds": sound.replace('"family-medicine"', "1" * 5_000).encode(),
        "empty": b"",
    }
    told = {}
    async with httpx.AsyncClient(headers=harmed.server.headers(), timeout=30.0, trust_env=False) as http:
        for name, body in bodies.items():
            headers = {"Content-Type": "application/json"}
            answer = await http.post(f"{harmed.server.url}/v1/suggestions", content=body, headers=headers)
            told[name] = answer.status_code
    return {"statuses": told}


async def crowd(harmed: Harmed) -> dict[str, Any]:
    """Ask far more at once than is let in; tell how soon those who are sent back know it."""
    statuses: Counter[int] = Counter()
    refused = list[float]()
    text = "Patient with chest pain, hypertension and type 2 diabetes. " * 40

    async def one(http: httpx.AsyncClient) -> None:
        started = time.monotonic()
        answer = await http.post(f"{harmed.server.url}/v1/suggestions", json=encounter(text))
        statuses[answer.status_code] += 1
        if answer.status_code in (429, 503):
            refused.append(time.monotonic() - started)
            assert "retry-after" in answer.headers

    limits = httpx.Limits(max_connections=None)
    headers = harmed.server.headers()
    async with httpx.AsyncClient(headers=headers, timeout=60.0, limits=limits, trust_env=False) as http:
        await asyncio.gather(*(one(http) for _ in range(_NUM_AT_ONCE)))
    refused.sort()
    return {
        "crowd_statuses": {str(status): count for status, count in statuses.items()},
        "refused_p50_ms": 1000 * refused[len(refused) // 2] if refused else None,
        "refused_slowest_ms": 1000 * refused[-1] if refused else None,
    }


async def _connect(harmed: Harmed) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(harmed.server.url)
    return await asyncio.open_connection(place.hostname, place.port)


def _head(harmed: Harmed, *, length: int) -> bytes:
    lines = [
        "POST /v1/suggestions HTTP/1.1",
        "Host: chartloop",
        f"Authorization: {harmed.server.headers()['Authorization']}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
