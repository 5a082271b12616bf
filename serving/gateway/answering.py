"""A suggestion is made, kept, and answered; under an idempotency key once, however often it is asked (stage 7).

The key is written in the transaction that stores the suggestion, so that there is never one without the
other. Requests that come at once under the same key wait for each other here; in several gateways the
database's unique key decides, and whoever loses answers with what the other stored.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from anyio.to_thread import run_sync
from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import IntegrityError

from clinical_coding.artefact import sha256_of_json
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from ledger.principals import Principal
from ledger.requests import suggestion_keys
from ledger.suggestions import load
from serving.backends import DeadlineExceededError
from serving.gateway.problems import FieldError, ProblemError
from serving.gateway.storing import SuggestionStore
from serving.tracing import span

__all__ = ["MAX_KEY_CHARACTERS", "Answer", "Answering", "check_key"]

MAX_KEY_CHARACTERS: Final = 128


@dataclass(frozen=True, slots=True)
class Answer:
    """A stored suggestion."""

    suggestion: Suggestion
    """With every code, those included that the manual route withholds."""
    is_repeated: bool
    """True when it was stored before, under the same key."""
    store_seconds: float


class _KeyTakenError(Exception):
    """Another gateway stored a suggestion under the key meanwhile."""


@dataclass(slots=True, eq=False)
class _Turn:
    """Attempts under one key, one at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    num_waiting: int = 0


class Answering:
    """Makes and keeps suggestions. All methods belong to one event loop."""

    def __init__(self, engine: Engine, *, store: SuggestionStore) -> None:
        """Name the database.

        Args:
            engine: A migrated database.
            store: Where suggestions are kept.
        """
        self._engine = engine
        self._store = store
        self._turns: dict[tuple[str, str], _Turn] = {}

    async def answer(
        self,
        asked: SuggestionRequest,
        *,
        principal: Principal,
        make: Callable[[], Awaitable[Suggestion]],
        key: str | None = None,
        give_up_at: float | None = None,
    ) -> Answer:
        """Make a suggestion and keep it, or find what was kept under the same key.

        Args:
            asked: What to suggest codes for.
            principal: Who asks; keys of different principals have nothing to do with each other.
            make: Makes the whole suggestion.
            key: The same for each attempt to ask this.
            give_up_at: Until when to wait for another attempt under the same key, on the monotonic clock.

        Raises:
            ProblemError: The key was used for another request, or what was stored under it was purged.
            DeadlineExceededError: Another attempt did not end in time.
            SQLAlchemyError: The database does not answer; nothing is stored then.
        """
        if key is None:
            return await self._make_and_keep(asked, principal=principal, make=make)
        body_sha256 = await run_sync(lambda: sha256_of_json(asked.model_dump(mode="json")))
        async with self._alone(principal.id, key, give_up_at=give_up_at):
            found = await run_sync(lambda: self._find(key, body_sha256=body_sha256, principal=principal))
            if found is not None:
                return found

            def take_key(suggestion: Suggestion, connection: Connection) -> None:
                row = {"principal_id": principal.id, "idempotency_key": key, "body_sha256": body_sha256}
                try:
                    connection.execute(insert(suggestion_keys).values(**row, suggestion_id=suggestion.suggestion_id))
                except IntegrityError:
                    raise _KeyTakenError from None

            try:
                return await self._make_and_keep(asked, principal=principal, make=make, also=take_key)
            except _KeyTakenError:
                found = await run_sync(lambda: self._find(key, body_sha256=body_sha256, principal=principal))
                assert found is not None, "keys are never removed"
                return found

    async def _make_and_keep(
        self,
        asked: SuggestionRequest,
        *,
        principal: Principal,
        make: Callable[[], Awaitable[Suggestion]],
        also: Callable[[Suggestion, Connection], None] | None = None,
    ) -> Answer:
        suggestion = await make()
        began_at = time.perf_counter()
        with_it = None if also is None else partial(also, suggestion)
        with span("store"):
            await self._store.keep(asked, suggestion, principal=principal, also=with_it)
        return Answer(suggestion, is_repeated=False, store_seconds=time.perf_counter() - began_at)

    @asynccontextmanager
    async def _alone(self, principal_id: str, key: str, *, give_up_at: float | None) -> AsyncIterator[None]:
        """Hold off other attempts under the same key."""
        name = (principal_id, key)
        turn = self._turns.setdefault(name, _Turn())
        turn.num_waiting += 1
        try:
            seconds = None if give_up_at is None else max(0.0, give_up_at - time.monotonic())
            try:
                async with asyncio.timeout(seconds):
                    await turn.lock.acquire()
            except TimeoutError:
                detail = "another attempt under the same Idempotency-Key has not ended yet"
                raise DeadlineExceededError(detail) from None
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            turn.num_waiting -= 1
            if not turn.num_waiting:
                del self._turns[name]

    def _find(self, key: str, *, body_sha256: str, principal: Principal) -> Answer | None:
        """Find what is stored under a key; blocks."""
        began_at = time.perf_counter()
        with self._engine.connect() as connection:
            row = connection.execute(
                select(suggestion_keys.c.body_sha256, suggestion_keys.c.suggestion_id).where(
                    suggestion_keys.c.principal_id == principal.id, suggestion_keys.c.idempotency_key == key
                )
            ).one_or_none()
            if row is None:
                return None
            if row.body_sha256 != body_sha256:
                raise ProblemError("key-reused", "another request was answered under this Idempotency-Key")
            suggestion = load(connection, row.suggestion_id).suggestion
        if suggestion is None:
            raise ProblemError("purged", "the suggestion under this Idempotency-Key was purged; its hash is kept")
        return Answer(suggestion, is_repeated=True, store_seconds=time.perf_counter() - began_at)


def check_key(key: str, *, max_characters: int = MAX_KEY_CHARACTERS) -> None:
    """See that a key can be stored.

    Raises:
        ProblemError: It cannot.
    """
    if not 1 <= len(key) <= max_characters or not key.isprintable():
        message = f"must hold 1 to {max_characters} printable characters"
        detail = f"the header Idempotency-Key {message}"
        raise ProblemError("invalid-request", detail, errors=[FieldError(field="Idempotency-Key", message=message)])
