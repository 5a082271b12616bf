"""The version that answers now, and how another takes its place without a failed request (stages 6, 7).

All that belongs to a version hangs on one frozen object. A request takes it once and uses it to its
end; the change is one assignment between two requests. Who loads and drops versions is not known here.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from clinical_coding.bundle import Label
from clinical_coding.suggestions import VersionName
from serving.backends import Backend
from serving.drift import Drift
from serving.gateway.building import SuggestionBuilder
from serving.gateway.dispatch import Dispatcher, Scored
from serving.gateway.rules import AnswerRules
from serving.gateway.settings import GatewaySettings

__all__ = ["ActiveVersion", "ServedVersion"]

_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """One version with everything that answers in its name."""

    name: VersionName
    builder: SuggestionBuilder
    dispatcher: Dispatcher
    drift: Drift | None = None
    """Its traffic against what it was trained on; None where that is not known."""

    @classmethod
    def join(
        cls,
        name: VersionName,
        *,
        labels: Sequence[Label],
        primary: Backend,
        fallback: Backend | None,
        settings: GatewaySettings,
        rules: AnswerRules,
        drift: Drift | None = None,
    ) -> Self:
        """Put a version together.

        Args:
            name: Which version both backends serve.
            labels: Its labels.
            primary: Who answers; started and stopped by the caller.
            fallback: Who answers in its place; likewise.
            settings: Limits and times.
            rules: What its codes are judged by.
            drift: Compares its traffic with what it was trained on.
        """
        builder = SuggestionBuilder(labels, version=name, rules=rules)
        return cls(name, builder, Dispatcher(primary, fallback=fallback, settings=settings), drift)

    def renamed(self, name: VersionName) -> "ServedVersion":
        """The same version under another alias."""
        return ServedVersion(name, self.builder.renamed(name), self.dispatcher, self.drift)

    def count_drift(self, scored: Scored) -> None:
        """Count what the model answered, for the comparison with its training."""
        if self.drift is not None:
            num_tokens = None if scored.timings is None else scored.timings.num_tokens
            self.drift.count(scored.codes, num_tokens=num_tokens)


class ActiveVersion:
    """Holds the version that answers. All methods belong to one event loop."""

    def __init__(self, first: ServedVersion) -> None:
        self._current = first
        self.is_draining = False
        """True once the gateway is to end: still answering, and asking for no more."""
        # A version that was renamed meanwhile is still in use under its former name.
        self._in_use: Counter[Dispatcher] = Counter()

    @property
    def current(self) -> ServedVersion:
        """The version that a request would get now; a request itself takes it with ``use``."""
        return self._current

    @contextmanager
    def use(self) -> Iterator[ServedVersion]:
        """Take the version for one request, which keeps it from being dropped."""
        served = self._current
        self._in_use[served.dispatcher] += 1
        try:
            yield served
        finally:
            self._in_use[served.dispatcher] -= 1
            if not self._in_use[served.dispatcher]:
                del self._in_use[served.dispatcher]

    def switch(self, new: ServedVersion) -> ServedVersion:
        """Let another version answer from now on; return the one before, which may still be in use."""
        before, self._current = self._current, new
        return before

    async def until_unused(self, served: ServedVersion, *, timeout_seconds: float) -> bool:
        """Wait for the last request of a version that was switched away.

        Returns:
            False when the time ran out before.
        """
        give_up_at = time.monotonic() + timeout_seconds
        while served.dispatcher in self._in_use:
            if time.monotonic() > give_up_at:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True
