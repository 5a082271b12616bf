"""Who asks: every path under ``/v1/`` needs a key, checked before a byte of the body is read.

What a role may do is stated at each endpoint with ``require``.
"""

import hashlib
import time
from collections.abc import Callable

from anyio.to_thread import run_sync
from fastapi import Request
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send

from ledger.principals import Principal, Role, authenticate
from serving.gateway.exchange import API_PREFIX, exchange_of
from serving.gateway.problems import ProblemError, problem_response, retry_after

__all__ = ["AuthenticationMiddleware", "KeyRing", "acting", "require"]


class KeyRing:
    """Checks keys against the database, off the event loop, and believes a right one for a moment.

    Wrong keys are asked about each time: remembering them would let anybody fill the memory.
    """

    def __init__(self, engine: Engine, *, cache_seconds: float) -> None:
        self._engine = engine
        self._cache_seconds = cache_seconds
        self._known: dict[str, tuple[float, Principal]] = {}

    async def find(self, key: str) -> Principal | None:
        """Find who holds a key; None when nobody does, or no more."""
        # Hashed, so that no key stays in memory.
        digest = hashlib.sha256(key.encode()).hexdigest()
        known = self._known.get(digest)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        principal = await run_sync(authenticate, self._engine, key)
        self._known.pop(digest, None)
        if principal is not None:
            self._known[digest] = (time.monotonic() + self._cache_seconds, principal)
        return principal


class AuthenticationMiddleware:
    """Lets only keys that are known through to ``/v1/``."""

    def __init__(self, app: ASGIApp, *, key_ring: KeyRing, retry_after_seconds: float) -> None:
        self._app = app
        self._key_ring = key_ring
        self._retry_after_seconds = retry_after_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"].startswith(API_PREFIX):
            exchange = exchange_of(scope)
            try:
                exchange.principal = await self._authenticate(scope)
            except ProblemError as error:
                response = problem_response(error, trace_id=exchange.trace_id)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _authenticate(self, scope: Scope) -> Principal:
        header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        scheme, _, key = header.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            challenge = {"WWW-Authenticate": 'Bearer realm="chartloop"'}
            raise ProblemError("no-key", "the header Authorization: Bearer KEY is missing", headers=challenge)
        try:
            principal = await self._key_ring.find(key.strip())
        except SQLAlchemyError:
            wait = retry_after(self._retry_after_seconds)
            raise ProblemError("no-database", "the database does not answer", headers=wait) from None
        if principal is None:
            challenge = {"WWW-Authenticate": 'Bearer realm="chartloop", error="invalid_token"'}
            raise ProblemError("wrong-key", "the key is unknown or revoked", headers=challenge)
        return principal


def acting(request: Request) -> Principal:
    """Give the principal, whichever the role: a dependency for endpoints that judge roles themselves."""
    principal = exchange_of(request.scope).principal
    assert principal is not None, "only paths under /v1/ have a principal"
    return principal


def require(*roles: Role) -> Callable[[Request], Principal]:
    """Make a dependency that gives the principal, and refuses roles other than these."""

    def principal_of(request: Request) -> Principal:
        principal = acting(request)
        if principal.role not in roles:
            detail = f"role {principal.role} may not do this; it takes {', '.join(roles)}"
            raise ProblemError("wrong-role", detail)
        return principal

    return principal_of
