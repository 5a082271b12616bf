"""From a request to a suggestion: scored, reviewed, built; nothing is stored here (stage 7).

A new request and the answer to a physician query, which asks anew, both come through it.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from fastapi import Request

from clinical_coding.suggestions import Suggestion, SuggestionRequest
from serving.gateway.active import ActiveVersion
from serving.gateway.exchange import Exchange, exchange_of
from serving.gateway.metrics import Metrics
from serving.gateway.problems import ProblemError
from serving.gateway.reviewing import read_notes
from serving.gateway.settings import GatewaySettings

__all__ = ["Suggester"]


class Suggester:
    """Makes suggestions with the version that answers at the moment."""

    def __init__(self, settings: GatewaySettings, *, active: ActiveVersion, metrics: Metrics) -> None:
        """Name what it takes.

        Args:
            settings: Limits and times.
            active: The version that answers.
            metrics: Where suggestions are counted.
        """
        self._settings = settings
        self._active = active
        self._metrics = metrics

    async def suggest(self, request: Request, asked: SuggestionRequest) -> Suggestion:
        """Suggest codes on behalf of whoever sent an HTTP request.

        Args:
            request: The work is dropped when its sender leaves.
            asked: What to suggest codes for.

        Returns:
            The whole suggestion, codes included on every route.

        Raises:
            ProblemError: The notes are too long, or the client left.
            BackendError: Nobody could score them; see ``serving.backends``.
        """
        exchange = exchange_of(request.scope)
        _check_length(asked, exchange=exchange, settings=self._settings)
        suggestion = await _unless_client_leaves(request, self._make(asked, trace_id=exchange.trace_id))
        exchange.facts |= {
            "suggestion_id": suggestion.suggestion_id,
            "degraded": suggestion.degraded,
            "decision": suggestion.route.decision.value,
            "num_codes": len(suggestion.codes),
            "num_findings": len(suggestion.findings),
            "num_queries": len(suggestion.queries),
            "version": suggestion.version.number or 0,
        }
        return suggestion

    async def suggest_again(self, request: Request, asked: SuggestionRequest) -> Suggestion:
        """The same for a request whose notes a physician's answer amended, which others store."""
        suggestion = await self.suggest(request, asked)
        self.count(suggestion)
        return suggestion

    def count(self, suggestion: Suggestion) -> None:
        """Count a suggestion among those that were answered."""
        self._metrics.suggestions.labels(decision=suggestion.route.decision.value).inc()
        for finding in suggestion.findings:
            self._metrics.findings.labels(severity=finding.severity.value).inc()
        self._metrics.queries.inc(len(suggestion.queries))
        self._metrics.degraded.inc(suggestion.degraded)

    async def _make(self, asked: SuggestionRequest, *, trace_id: str) -> Suggestion:
        with self._active.use() as served:
            # The model runs in another process, so that reading the notes costs no time beside it.
            reading = asyncio.ensure_future(run_sync(read_notes, asked.notes))
            try:
                scored = await served.dispatcher.score(asked.notes)
                read = await reading
            finally:
                reading.cancel()
            return await run_sync(partial(served.builder.build, asked, scored=scored, read=read, trace_id=trace_id))


def _check_length(asked: SuggestionRequest, *, exchange: Exchange, settings: GatewaySettings) -> None:
    num_characters = sum(len(note.text) for note in asked.notes)
    exchange.facts |= {"num_notes": len(asked.notes), "num_characters": num_characters}
    if num_characters > settings.max_note_characters:
        detail = f"the notes hold {num_characters:,} characters; at most {settings.max_note_characters:,} are read"
        raise ProblemError("too-large", detail)


async def _unless_client_leaves(request: Request, suggesting: Coroutine[Any, Any, Suggestion]) -> Suggestion:
    """Suggest, but drop the work when nobody waits for it any more."""
    work = asyncio.create_task(suggesting)
    # The body was read whole, so the next message can only be the client's leaving.
    leaving = asyncio.ensure_future(request.receive())
    both: set[asyncio.Future[Any]] = {work, leaving}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ProblemError("client-left", "the client left before the answer")
        return work.result()
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
