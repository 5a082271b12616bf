"""Tokens of others: JSON Web Tokens of issuers that this service trusts, each checked whole.

Signature by a public key of the issuer, issuer, audience, expiry, beginning, age; and, where it is
asked for, that the same token is not used twice. What a claim means is decided elsewhere. Nothing of a
token is repeated in an error. Source: RFC 7519, and RFC 8725 for what goes wrong with them.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
import jwt

from serving.gateway.token_keys import IssuerKeys, KeysUnreadableError, TrustedIssuer

__all__ = ["SeenTokens", "TokenError", "TokenUses", "TokenVerifier", "TrustedIssuer", "VerifiedToken"]

_MAX_TOKEN_CHARACTERS: Final = 16_384
_MAX_TOKEN_ID_CHARACTERS: Final = 256
_MAX_SUBJECT_CHARACTERS: Final = 255
_MAX_SEEN: Final = 100_000
_REASONS: Final[Mapping[type[jwt.PyJWTError], str]] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not good yet",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token's issuer is not trusted",
    jwt.MissingRequiredClaimError: "the token lacks one of the claims that it must have, such as aud and exp",
}


class TokenError(Exception):
    """A token is not taken."""

    def __init__(self, reason: str, *, is_passing: bool = False) -> None:
        """Say why.

        Args:
            reason: Safe to tell to whoever sent it.
            is_passing: True when the fault is this side's, and the same token may be taken later.
        """
        super().__init__(reason)
        self.reason = reason
        self.is_passing = is_passing


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token that was checked."""

    issuer: str
    subject: str
    token_id: str | None
    claims: Mapping[str, Any]


class TokenUses(Protocol):
    """Remembers which tokens were used, until they expire."""

    async def note(self, issuer: str, token_id: str, *, expires_at: float) -> bool:
        """Note a use.

        Args:
            issuer: Of the token.
            token_id: Its ``jti``.
            expires_at: Until when it must be remembered, in seconds since 1970.

        Returns:
            False when it was used before, or cannot be remembered.
        """
        ...


class SeenTokens:
    """Remembers in this process alone, which is enough where one gateway runs."""

    def __init__(self, *, max_seen: int = _MAX_SEEN) -> None:
        self._max_seen = max_seen
        self._seen: dict[tuple[str, str], float] = {}

    async def note(self, issuer: str, token_id: str, *, expires_at: float) -> bool:
        """Note a use; see ``TokenUses``."""
        now = time.time()
        if self._seen.get((issuer, token_id), 0.0) > now:
            return False
        if len(self._seen) >= self._max_seen:
            self._seen = {name: until for name, until in self._seen.items() if until > now}
            if len(self._seen) >= self._max_seen:
                # Forgetting one that is still good would let it be used twice.
                return False
        self._seen[issuer, token_id] = expires_at
        return True


class TokenVerifier:
    """Checks tokens of the issuers that it knows, and of no other."""

    def __init__(
        self,
        issuers: Sequence[TrustedIssuer],
        *,
        leeway_seconds: float = 30,
        refuses_replay: bool = False,
        needs_subject: bool = True,
        uses: TokenUses | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Name whom to trust.

        Args:
            issuers: Whose tokens are taken.
            leeway_seconds: By how much clocks may differ.
            refuses_replay: Take a token once only; it must have a ``jti`` then.
            needs_subject: Whether a token must have a ``sub``; where one may lack it, the issuer is the subject.
            uses: Where uses are remembered; in this process when None.
            transport: How the issuers' keys are asked for over HTTPS; the system's own way when None.

        Raises:
            ValueError: An issuer is named twice.
        """
        self._issuers = {issuer.issuer: (issuer, IssuerKeys(issuer, transport=transport)) for issuer in issuers}
        if len(self._issuers) != len(issuers):
            raise ValueError("an issuer is named twice; name each once, with one audience")
        self._leeway_seconds = leeway_seconds
        self._needs_subject = needs_subject
        self._uses = (uses or SeenTokens()) if refuses_replay else None

    async def verify(self, token: str) -> VerifiedToken:
        """Check a token whole.

        Raises:
            TokenError: It is not taken; the reason repeats nothing of it.
        """
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise TokenError(f"the token is longer than {_MAX_TOKEN_CHARACTERS:,} characters")
        header, claimed = _read(token)
        if header["alg"] not in _algorithms(claimed, self._issuers):
            raise TokenError("the token's issuer is not trusted, or not with this algorithm")
        trusted, keys = self._issuers[claimed]
        try:
            key = await keys.find(key_id=header.get("kid"), algorithm=header["alg"])
        except KeysUnreadableError:
            raise TokenError("the issuer's keys cannot be read now", is_passing=True) from None
        if key is None:
            raise TokenError("the token is signed by a key that its issuer does not tell")
        claims = self._decode(token, key=key.key, algorithm=header["alg"], trusted=trusted)
        verified = _describe(claims if self._needs_subject else {"sub": claims["iss"], **claims})
        await self._note_use(verified)
        return verified

    def _decode(self, token: str, *, key: Any, algorithm: str, trusted: TrustedIssuer) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=trusted.audience,
                issuer=trusted.issuer,
                leeway=self._leeway_seconds,
                options={"require": ["iss", *(["sub"] if self._needs_subject else []), "aud", "exp"]},
            )
            begins = float(claims.get("iat", time.time()))
            is_too_long = float(claims["exp"]) - begins > trusted.max_lifetime_seconds + self._leeway_seconds
        except jwt.PyJWTError as error:
            raise TokenError(_reason(error)) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise TokenError("the token cannot be read") from None
        if is_too_long:
            raise TokenError(f"the token is good for more than {trusted.max_lifetime_seconds:g} s")
        return claims

    async def _note_use(self, verified: VerifiedToken) -> None:
        if self._uses is None:
            return
        if verified.token_id is None:
            raise TokenError("the token has no jti, so that its use cannot be noted")
        expires_at = float(verified.claims["exp"]) + self._leeway_seconds
        if not await self._uses.note(verified.issuer, verified.token_id, expires_at=expires_at):
            raise TokenError("the token was used before; send a new one with each request")


def _algorithms(issuer: str, known: Mapping[str, tuple[TrustedIssuer, IssuerKeys]]) -> Sequence[str]:
    """The algorithms that an issuer may sign with; none for one that nobody trusts."""
    return known[issuer][0].algorithms if issuer in known else ()


def _read(token: str) -> tuple[dict[str, Any], str]:
    """The header, and the issuer that it claims; nothing of it is believed yet."""
    try:
        read = jwt.decode_complete(token, options={"verify_signature": False})
        header, issuer = read["header"], read["payload"].get("iss")
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
        raise TokenError("the token cannot be read") from None
    key_id = header.get("kid")
    if not isinstance(issuer, str) or not isinstance(header.get("alg"), str):
        raise TokenError("the token names no issuer or no algorithm")
    if not (key_id is None or isinstance(key_id, str)):
        raise TokenError("the token's kid is no text")
    return header, issuer


def _reason(error: jwt.PyJWTError) -> str:
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason
    return "the token's signature or form is wrong"


def _describe(claims: dict[str, Any]) -> VerifiedToken:
    subject, token_id = claims["sub"], claims.get("jti")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_CHARACTERS or not subject.isprintable():
        raise TokenError(f"the token's sub must hold 1 to {_MAX_SUBJECT_CHARACTERS} printable characters")
    if not (token_id is None or isinstance(token_id, str)) or len(token_id or "") > _MAX_TOKEN_ID_CHARACTERS:
        raise TokenError(f"the token's jti must hold at most {_MAX_TOKEN_ID_CHARACTERS} characters")
    return VerifiedToken(issuer=claims["iss"], subject=subject, token_id=token_id, claims=claims)
