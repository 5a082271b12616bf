"""Which EHR calls a CDS service: its token is checked whole, and it acts as the service principal that it has here.

A token is good for one call of one URL. Where keys are is told by the settings alone; a token's ``jku`` is
not followed. Source: CDS Hooks 2.0, section "Trusting CDS Clients".
"""

from datetime import UTC, datetime
from functools import partial
from typing import Final

import httpx
from anyio.to_thread import run_sync
from fastapi import Request
from sqlalchemy import Engine

from ledger.federation import note_token_use
from ledger.principals import Principal, Role, named
from serving.ehr.settings import EhrSettings
from serving.gateway.exchange import exchange_of
from serving.gateway.problems import ProblemError, retry_after
from serving.gateway.tokens import TokenError, TokenVerifier

__all__ = ["CdsClients"]

_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="chartloop-cds"'}
_RETRY_SECONDS: Final = 5.0


class _StoredUses:
    """Remembers tokens for every gateway on the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def note(self, issuer: str, token_id: str, *, expires_at: float) -> bool:
        moment = datetime.fromtimestamp(expires_at, UTC)
        work = partial(note_token_use, self._engine, issuer=issuer, token_id=token_id, expires_at=moment)
        return await run_sync(work)


class CdsClients:
    """Recognises EHRs."""

    def __init__(
        self, settings: EhrSettings, *, engine: Engine, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Prepare.

        Args:
            settings: Which EHRs there are.
            engine: A migrated database.
            transport: How their keys are asked for; the system's own way when None.
        """
        self._settings = settings
        self._engine = engine
        self._transport = transport
        self._uses = _StoredUses(engine)
        self._names = {client.issuer: client.principal for client in settings.cds_clients}
        self._verifiers: dict[str, TokenVerifier] = {}

    async def __call__(self, request: Request) -> Principal:
        """Recognise who calls: a dependency of endpoints.

        Raises:
            ProblemError: The token is missing or is not taken, or its principal may not call.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise ProblemError("no-key", "the header Authorization: Bearer JWT is missing", headers=_CHALLENGE)
        try:
            verified = await self._verifier(request.url.path).verify(token.strip())
        except TokenError as error:
            if error.is_passing:
                raise ProblemError("no-issuer", error.reason, headers=retry_after(_RETRY_SECONDS)) from None
            raise ProblemError("wrong-token", error.reason, headers=_CHALLENGE) from None
        principal = await run_sync(self._find, self._names[verified.issuer])
        exchange_of(request.scope).principal = principal
        return principal

    def _verifier(self, path: str) -> TokenVerifier:
        """The verifier of one URL: a token for another is refused."""
        if path not in self._verifiers:
            audience = f"{self._settings.public_url}{path}"
            self._verifiers[path] = TokenVerifier(
                [client.trusted(audience=audience) for client in self._settings.cds_clients],
                refuses_replay=True,
                needs_subject=False,
                uses=self._uses,
                transport=self._transport,
            )
        return self._verifiers[path]

    def _find(self, name: str) -> Principal:
        with self._engine.connect() as connection:
            principal = named(connection, name)
        if principal is None or principal.revoked_at is not None or principal.role is not Role.SERVICE:
            detail = "the principal that this EHR acts as does not exist, was revoked, or is not of role service"
            raise ProblemError("forbidden", detail)
        return principal
