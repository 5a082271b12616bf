"""Load from this process, and what came back: so many clients at once, or arrivals that wait for nobody."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import numpy as np

from scripts.serving_benchmark.processes import ProcessTree

__all__ = [
    "ANSWER_TIMEOUT_SECONDS",
    "NO_ANSWER",
    "Ask",
    "Measured",
    "Reply",
    "Sent",
    "ask_at_random",
    "ask_with_clients",
    "http_client",
    "quantile",
    "suggested",
]

ANSWER_TIMEOUT_SECONDS: Final = 120.0
"""How long any server is waited for."""
NO_ANSWER: Final = 0

Codes = dict[tuple[str, str], Mapping[str, Any]]
"""Codes of an answer, by system and code."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server said to one note."""

    status: int
    """HTTP's; NO_ANSWER where the connection failed."""
    degraded: bool = False
    """The standby worker answered."""
    codes: Codes = field(default_factory=dict)
    """The suggested ones."""
    retry_after_seconds: float | None = None
    """When to come back, where the server says so."""


Ask = Callable[[str], Awaitable[Reply]]
"""Sends one note and waits for the answer."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request and its fate, in seconds of the monotonic clock."""

    sent_at: float
    answered_at: float
    status: int
    degraded: bool
    num_words: int

    @classmethod
    def of(cls, text: str, reply: Reply, *, sent_at: float) -> "Sent":
        """A request that has just been answered."""
        return cls(sent_at, time.monotonic(), reply.status, reply.degraded, text.count(" ") + 1)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.answered_at - self.sent_at


@dataclass(frozen=True, slots=True)
class Measured:
    """A level of load."""

    num_clients: int
    num_notes: int
    notes_per_second: float
    p50_seconds: float
    p99_seconds: float
    client_cpu_seconds: float
    """Of all notes, in the process that asks."""
    server_cpu_seconds: float
    """Of all notes, in the server's processes."""
    num_sent_back: int
    """Times a client was told to come back, and did; its waiting counts in its latency."""
    num_degraded: int
    """Notes that the standby worker answered."""
    num_failed: int
    """Notes that got no codes; they are left out of all of the above."""


def http_client(headers: Mapping[str, str]) -> httpx.AsyncClient:
    """A client of loopback that opens as many connections as it is asked to use."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(headers=dict(headers), timeout=ANSWER_TIMEOUT_SECONDS, limits=limits, trust_env=False)


def suggested(content: Mapping[str, Any]) -> Codes:
    """The suggested codes of an answer; the gateway's holds no others."""
    codes = content.get("codes", ())
    return {(code["system"], code["code"]): code for code in codes if code.get("suggested", True)}


def quantile(values: Sequence[float], share: float) -> float:
    """A quantile, as numpy interpolates it."""
    return float(np.quantile(np.asarray(values), share))


async def ask_with_clients(ask: Ask, texts: Sequence[str], *, num_clients: int, tree: ProcessTree) -> Measured:
    """Ask for every text, so many at once: a client that has its answer asks the next.

    Raises:
        ValueError: No note was answered.
    """
    waiting, sent, num_sent_back = iter(texts), list[Sent](), 0

    async def client() -> None:
        nonlocal num_sent_back
        for text in waiting:
            started = time.monotonic()
            while (reply := await ask(text)).retry_after_seconds is not None:
                num_sent_back += 1
                await asyncio.sleep(reply.retry_after_seconds)
            sent.append(Sent.of(text, reply, sent_at=started))

    before, began = tree.cpu_time(), time.monotonic()
    async with asyncio.TaskGroup() as clients:
        for _ in range(num_clients):
            clients.create_task(client())
    seconds, spent = time.monotonic() - began, tree.cpu_time().since(before)
    answered = [one for one in sent if one.status == httpx.codes.OK]
    if not answered:
        raise ValueError(
            f"none of {len(sent)} notes was answered; their statuses: {sorted({one.status for one in sent})}"
        )
    taken = [one.seconds for one in answered]
    return Measured(
        num_clients,
        len(answered),
        len(answered) / seconds,
        quantile(taken, 0.5),
        quantile(taken, 0.99),
        spent.client_seconds,
        spent.server_seconds,
        num_sent_back,
        sum(one.degraded for one in answered),
        len(sent) - len(answered),
    )


async def ask_at_random(ask: Ask, texts: Sequence[str], *, per_second: float, seconds: float, seed: int) -> list[Sent]:
    """Ask at times of a Poisson process, whatever has been answered; gives every request, by time of sending."""
    generator, at, times = random.Random(seed), 0.0, list[float]()
    while (at := at + generator.expovariate(per_second)) < seconds:
        times.append(at)
    began = time.monotonic()

    async def one(at: float, text: str) -> Sent:
        await asyncio.sleep(began + at - time.monotonic())
        started = time.monotonic()
        try:
            reply = await ask(text)
        except httpx.TransportError:
            reply = Reply(NO_ANSWER)
        return Sent.of(text, reply, sent_at=started)

    return list(await asyncio.gather(*(one(at, texts[number % len(texts)]) for number, at in enumerate(times))))
