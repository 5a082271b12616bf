"""Asks a gateway all the while: every answer is compared with the known one, every decision is read back."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from clinical_coding.artefact import new_id
from scripts.serving_benchmark.gateway_server import encounter

__all__ = ["Outcome", "Watch", "known_answers", "watching"]

_TOLERANCE: Final = 1e-4
_OK: Final = 200
_CREATED: Final = 201
# Told to come back: the client does, and nothing is lost.
_SENT_BACK: Final = (429, 503)

Codes = dict[str, float]


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    status: int
    degraded: bool
    seconds: float


@dataclass
class Watch:
    """What was seen of a gateway."""

    seen: list[_Seen] = field(default_factory=list)
    ready: list[tuple[float, str]] = field(default_factory=list)
    """When, and ``ready``, ``degraded`` or ``down``."""
    num_wrong: int = 0
    acknowledged: list[str] = field(default_factory=list)
    """Ids of decisions."""

    def first(self, states: Sequence[str], *, after: float) -> float | None:
        """Seconds until readiness was one of these."""
        return next((at - after for at, state in self.ready if at >= after and state in states), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a fault."""

    noticed_seconds: float | None
    """Until readiness said degraded or down; None where nothing was to be noticed."""
    recovered_seconds: float | None
    num_requests: int
    num_sent_back: int
    """Answered 429 or 503, and then answered."""
    num_failed: int
    num_wrong: int
    num_decisions: int
    num_lost_decisions: int
    slowest_seconds: float
    statuses: dict[int, int]

    @classmethod
    def of(cls, watch: Watch, *, lost: int, harmed_at: float | None, is_noticed: bool) -> "Outcome":
        """Sum up.

        Args:
            watch: What was seen.
            lost: Decisions that were acknowledged and are not there.
            harmed_at: When the harm was done; None where it was there from the start.
            is_noticed: Whether readiness must tell of it.
        """
        noticed = recovered = None
        if harmed_at is not None and is_noticed:
            noticed = watch.first(("degraded", "down"), after=harmed_at)
            if noticed is not None:
                recovered = watch.first(("ready",), after=harmed_at + noticed)
                recovered = None if recovered is None else recovered + noticed
        statuses = Counter(one.status for one in watch.seen)
        return cls(
            noticed_seconds=noticed,
            recovered_seconds=recovered,
            num_requests=len(watch.seen),
            num_sent_back=sum(statuses[status] for status in _SENT_BACK),
            num_failed=sum(count for status, count in statuses.items() if status not in (_OK, *_SENT_BACK)),
            num_wrong=watch.num_wrong,
            num_decisions=len(watch.acknowledged),
            num_lost_decisions=lost,
            slowest_seconds=max((one.seconds for one in watch.seen), default=0.0),
            statuses=dict(statuses),
        )


async def known_answers(url: str, headers: dict[str, str], texts: Sequence[str]) -> dict[str, Codes]:
    """What a healthy gateway answers to each text."""
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60.0, trust_env=False) as http:
        return {text: _codes((await http.post("/v1/suggestions", json=encounter(text))).json()) for text in texts}


@asynccontextmanager
async def watching(
    urls: Callable[[], str], headers: dict[str, str], known: dict[str, Codes], *, num_clients: int = 3
) -> AsyncIterator[Watch]:
    """Ask, decide and look at readiness while the block runs.

    Args:
        urls: Where to send the next request.
        headers: Of each.
        known: Texts and their answers; of texts whose answer may change, none.
        num_clients: At once.
    """
    watch, ending = Watch(), asyncio.Event()
    # A connection for each request, as after a balancer; a kept one would hide who answers.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(headers=headers, timeout=30.0, limits=limits, trust_env=False) as http:
        tasks = [asyncio.create_task(_ask(http, urls, known, watch, ending, at)) for at in range(num_clients)]
        tasks.append(asyncio.create_task(_look(http, urls, watch, ending)))
        try:
            yield watch
        finally:
            ending.set()
            await asyncio.gather(*tasks)


async def _ask(
    http: httpx.AsyncClient,
    urls: Callable[[], str],
    known: dict[str, Codes],
    watch: Watch,
    ending: asyncio.Event,
    first: int,
) -> None:
    texts, at = list(known), first
    while not ending.is_set():
        text, at = texts[at % len(texts)], at + 1
        started = time.monotonic()
        status, content = await _post(http, f"{urls()}/v1/suggestions", encounter(text))
        watch.seen.append(_Seen(time.monotonic(), status, bool(content.get("degraded")), time.monotonic() - started))
        if status == _OK:
            watch.num_wrong += not _agree(_codes(content), known[text])
            await _decide(http, urls(), content["suggestion_id"], watch)
        elif status in _SENT_BACK:
            await asyncio.sleep(0.2)


async def _decide(http: httpx.AsyncClient, url: str, suggestion_id: str, watch: Watch) -> None:
    body = {"suggestion_id": suggestion_id, "seconds_spent": 1.0}
    status, content = await _post(http, f"{url}/v1/decisions", body, **{"Idempotency-Key": new_id()})
    if status in (_OK, _CREATED):
        watch.acknowledged.append(content["decision_id"])


async def _post(http: httpx.AsyncClient, url: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    try:
        answer = await http.post(url, json=body, headers=headers)
        return answer.status_code, answer.json()
    except (httpx.TransportError, ValueError):
        return 0, {}


async def _look(http: httpx.AsyncClient, urls: Callable[[], str], watch: Watch, ending: asyncio.Event) -> None:
    while not ending.is_set():
        try:
            answer = await http.get(f"{urls()}/readyz", timeout=5.0)
            state = "down" if answer.status_code != _OK else "degraded" if answer.json()["degraded"] else "ready"
        except (httpx.TransportError, ValueError):
            state = "down"
        watch.ready.append((time.monotonic(), state))
        await asyncio.sleep(0.1)


def _codes(content: dict[str, Any]) -> Codes:
    return {f"{code['system']}:{code['code']}": code["confidence"] for code in content.get("codes", ())}


def _agree(codes: Codes, known: Codes) -> bool:
    return codes.keys() == known.keys() and all(abs(codes[key] - known[key]) <= _TOLERANCE for key in codes)
