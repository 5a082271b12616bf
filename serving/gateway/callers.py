"""Recognises who asks: by a key of this service, or by a token of an identity provider.

Proofs that were right are believed for a moment, off the database. It does not know what the caller may do.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from anyio.to_thread import run_sync
from sqlalchemy import Engine

from ledger.federation import federate
from ledger.keys import Scope
from ledger.principals import Principal, Role, find_key
from serving.gateway.problems import ProblemError
from serving.gateway.security_settings import OidcSettings
from serving.gateway.tokens import TokenError, TokenVerifier, VerifiedToken

__all__ = ["Caller", "Callers"]

_MAX_KNOWN: Final = 10_000
_PROVEN_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, on which terms."""

    principal: Principal
    proof_id: str
    """Names the key, or the person where a token is the proof: what the rate is counted by."""
    scopes: frozenset[Scope] | None
    requests_per_minute: int | None
    expires_at: float
    """In seconds since 1970."""


class Callers:
    """Checks proofs, off the event loop, and believes a right one for a moment.

    Wrong ones are asked about each time: remembering them would let anybody fill the memory.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        cache_seconds: float,
        oidc: OidcSettings | None = None,
        verifier: TokenVerifier | None = None,
    ) -> None:
        """Prepare.

        Args:
            engine: A migrated database.
            cache_seconds: How long a right proof is believed without asking anybody.
            oidc: Identity providers whose tokens are taken.
            verifier: Checks their tokens; made from ``oidc`` when None.
        """
        self._engine = engine
        self._cache_seconds = cache_seconds
        self._oidc = oidc
        self._verifier = verifier
        if oidc is not None and verifier is None:
            self._verifier = TokenVerifier(oidc.issuers, leeway_seconds=oidc.leeway_seconds)
        self._known: dict[str, tuple[float, Caller]] = {}
        self._proven: dict[str, float] = {}

    def was_right(self, proof: str) -> bool:
        """Whether this proof was right a short while ago, so that it is no guess."""
        return self._proven.get(_digest(proof), 0.0) > time.monotonic()

    async def find(self, proof: str) -> Caller | None:
        """Find who sends a proof; None when a key is unknown, expired or revoked.

        Raises:
            ProblemError: A token is not taken; says why.
            SQLAlchemyError: The database does not answer.
        """
        # Hashed, so that no key stays in memory.
        digest = _digest(proof)
        known = self._known.get(digest)
        if known is not None and time.monotonic() < known[0] and time.time() < known[1].expires_at:
            return known[1]
        self._known.pop(digest, None)
        is_token = self._oidc is not None and proof.count(".") == 2
        caller = await (self._find_by_token(proof) if is_token else self._find_by_key(proof))
        if caller is not None:
            now = time.monotonic()
            _remember(self._known, digest, (now + self._cache_seconds, caller))
            _remember(self._proven, digest, now + _PROVEN_SECONDS)
        return caller

    async def _find_by_key(self, key: str) -> Caller | None:
        held = await run_sync(find_key, self._engine, key)
        if held is None:
            return None
        expires_at = float("inf") if held.expires_at is None else held.expires_at.timestamp()
        return Caller(held.principal, held.id, held.scopes, held.requests_per_minute, expires_at)

    async def _find_by_token(self, text: str) -> Caller:
        assert self._verifier is not None and self._oidc is not None
        try:
            token = await self._verifier.verify(text)
        except TokenError as error:
            kind = "no-issuer" if error.is_passing else "wrong-token"
            raise ProblemError(kind, error.reason) from None
        role = _role(token, self._oidc)
        if role is None:
            raise ProblemError(
                "wrong-token", f"the token's claim {self._oidc.role_claim} names no role of this service"
            )
        find = partial(federate, self._engine, issuer=token.issuer, subject=token.subject, role=role)
        principal = await run_sync(find)
        if principal is None:
            raise ProblemError("wrong-token", "the token's subject was revoked here, or has the name of another")
        expires_at = min(float(token.claims["exp"]), datetime.now(UTC).timestamp() + self._cache_seconds)
        return Caller(principal, principal.id, _scopes(token, self._oidc), None, expires_at)


def _remember(known: dict[str, Any], digest: str, value: object) -> None:
    known[digest] = value
    if len(known) > _MAX_KNOWN:
        # The oldest; it is found again in the database.
        del known[next(iter(known))]


def _digest(proof: str) -> str:
    return hashlib.sha256(proof.encode()).hexdigest()


def _role(token: VerifiedToken, oidc: OidcSettings) -> Role | None:
    told = _words(_claim(token.claims, oidc.role_claim))
    return next((role for value, role in oidc.roles.items() if value in told), None)


def _scopes(token: VerifiedToken, oidc: OidcSettings) -> frozenset[Scope] | None:
    if oidc.scope_claim is None:
        return None
    told = _words(_claim(token.claims, oidc.scope_claim))
    return frozenset(scope for scope in Scope if scope.value in told)


def _claim(claims: Mapping[str, Any], name: str) -> object:
    # A claim may be a URL, which has dots of its own.
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _words(value: object) -> frozenset[str]:
    if isinstance(value, str):
        # Scopes are one text with spaces between (RFC 8693, section 4.2); a group may have spaces in its name.
        return frozenset({value, *value.split()})
    return frozenset(word for word in value if isinstance(word, str)) if isinstance(value, list) else frozenset()
