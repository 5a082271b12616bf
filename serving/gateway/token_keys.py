"""Public keys of the issuers whose tokens are taken: read from a file or over HTTPS, kept, and renewed.

A key that nobody knows makes the keys be read anew, at most once a minute, so that a forger cannot make
this gateway hammer an issuer. It does not know tokens. Source: RFC 7517 (JSON Web Key).
"""

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import httpx
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = ["Algorithm", "IssuerKeys", "KeysUnreadableError", "TrustedIssuer"]

# Signatures by public keys alone: with HMAC whoever can check a token could make one.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]

_MAX_BYTES: Final = 262_144
_MAX_KEYS: Final = 100
_TIMEOUT_SECONDS: Final = 5.0
_RENEW_SECONDS: Final = 60.0
"""Between attempts to read the keys."""
_FRESH_SECONDS: Final = 3600.0
_STALE_SECONDS: Final = 86_400.0
"""How long keys are believed that cannot be read anew: an issuer that is down must not lock out a hospital."""


class TrustedIssuer(BaseModel):
    """Whose tokens are taken, and how they are checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    issuer: Annotated[str, Field(min_length=1, max_length=512)]
    """The claim ``iss``, to the letter."""
    audience: Annotated[str, Field(min_length=1, max_length=512)]
    """This service, as the claim ``aud`` names it."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256")
    """Signatures that are taken; of public keys alone."""
    jwks_file: Path | None = None
    """The issuer's public keys as a JSON Web Key Set; this or ``jwks_url``."""
    jwks_url: Annotated[str, Field(max_length=2048)] | None = None
    """Where the issuer tells them; https alone."""
    max_lifetime_seconds: Annotated[float, Field(gt=0)] = 86_400.0
    """Tokens that are good for longer are refused."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise ValueError(f"issuer {self.issuer!r} needs exactly one of jwks_file and jwks_url")
        if self.jwks_url is not None and not self.jwks_url.startswith("https://"):
            raise ValueError(f"jwks_url {self.jwks_url!r} must begin with https://, or anyone between could add a key")
        return self


class KeysUnreadableError(Exception):
    """The issuer's keys cannot be read; says where and why, for the log."""


class _Keys(BaseModel):
    """A JSON Web Key Set."""

    model_config = ConfigDict(frozen=True)

    keys: Annotated[tuple[dict[str, Any], ...], Field(max_length=_MAX_KEYS)]


class IssuerKeys:
    """The public keys of one issuer."""

    def __init__(self, issuer: TrustedIssuer, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Prepare; nothing is read yet.

        Args:
            issuer: Whose keys.
            transport: How HTTPS is spoken; the system's own way when None.
        """
        self._issuer = issuer
        self._transport = transport
        self._keys: tuple[PyJWK, ...] = ()
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._reading = asyncio.Lock()

    async def find(self, *, key_id: str | None, algorithm: str) -> PyJWK | None:
        """Find the key that a token names.

        Args:
            key_id: ``kid`` of the token; without one the issuer must have a single key.
            algorithm: ``alg`` of the token.

        Raises:
            KeysUnreadableError: None were ever read, or too long ago.
        """
        if self._age() > _FRESH_SECONDS:
            await self._renew()
        key = self._pick(key_id, algorithm)
        if key is None and self._age() <= _STALE_SECONDS:
            await self._renew()
            key = self._pick(key_id, algorithm)
        if self._age() > _STALE_SECONDS:
            raise KeysUnreadableError(f"the keys of issuer {self._issuer.issuer} cannot be read")
        return key

    def _age(self) -> float:
        return float("inf") if self._read_at is None else time.monotonic() - self._read_at

    def _pick(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        if key_id is None and len(self._keys) != 1:
            return None
        for key in self._keys:
            if key_id in (None, key.key_id) and _may_check(key, algorithm):
                return key
        return None

    async def _renew(self) -> None:
        async with self._reading:
            now = time.monotonic()
            if self._tried_at is not None and now - self._tried_at < _RENEW_SECONDS:
                return
            self._tried_at = now
            try:
                self._keys = _usable(_Keys.model_validate_json(await self._fetch()))
            except (OSError, httpx.HTTPError, ValidationError, KeysUnreadableError):
                return
            self._read_at = now

    async def _fetch(self) -> bytes:
        if self._issuer.jwks_file is not None:
            return await asyncio.to_thread(self._issuer.jwks_file.read_bytes)
        assert self._issuer.jwks_url is not None
        body = bytearray()
        async with (
            asyncio.timeout(_TIMEOUT_SECONDS),
            # Neither proxies nor credentials of the environment, and no redirect to where nobody said.
            httpx.AsyncClient(transport=self._transport, trust_env=False, follow_redirects=False) as client,
            client.stream("GET", self._issuer.jwks_url) as response,
        ):
            if response.status_code != 200:
                raise KeysUnreadableError(f"status {response.status_code}")
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise KeysUnreadableError(f"more than {_MAX_BYTES:,} bytes")
        return bytes(body)


def _may_check(key: PyJWK, algorithm: str) -> bool:
    # A key that says for which algorithm it is serves no other (RFC 8725, section 3.1).
    return key._jwk_data.get("alg") in (None, algorithm)


def _usable(read: _Keys) -> tuple[PyJWK, ...]:
    usable = []
    for data in read.keys:
        if data.get("kty") == "oct" or data.get("use") not in (None, "sig"):
            continue
        try:
            usable.append(PyJWK(data))
        except PyJWTError:
            # A key of a kind that is newer than this gateway must not cost the others.
            continue
    return tuple(usable)
