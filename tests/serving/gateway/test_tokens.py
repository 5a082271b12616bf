import asyncio
import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import ValidationError
from sqlalchemy import Engine

from serving.gateway import token_keys
from serving.gateway.token_uses import LedgerTokenUses
from serving.gateway.tokens import SeenTokens, TokenError, TokenVerifier, TrustedIssuer

ISSUER, AUDIENCE, URL = "https://idp.hospital.example", "https://chartloop.hospital.example", "https://idp.example/jwks"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def jwk(key: Any, key_id: str, **more: str) -> dict[str, Any]:
    kind = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": key_id, **more}


def token(key: Any = RSA, *, algorithm: str = "RS256", key_id: str | None = "a", **changed: Any) -> str:
    now = time.time()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300, "jti": "1", **changed}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": key_id} if key_id else {})


@pytest.fixture
def trusted(tmp_path: Path) -> TrustedIssuer:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk(RSA, "a"), jwk(EC, "b", alg="ES256")]}))
    return TrustedIssuer(issuer=ISSUER, audience=AUDIENCE, jwks_file=path)


def reason(verifier: TokenVerifier, text: str) -> str:
    with pytest.raises(TokenError) as caught:
        asyncio.run(verifier.verify(text))
    return caught.value.reason


@pytest.mark.parametrize(("key", "algorithm", "key_id"), [(RSA, "RS256", "a"), (EC, "ES256", "b")])
def test_a_token_of_a_trusted_issuer_is_taken(trusted: TrustedIssuer, key: Any, algorithm: str, key_id: str) -> None:
    verified = asyncio.run(TokenVerifier([trusted]).verify(token(key, algorithm=algorithm, key_id=key_id, role="x")))
    assert (verified.issuer, verified.subject, verified.token_id) == (ISSUER, "ada", "1")
    assert verified.claims["role"] == "x"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"iss": "https://evil.example"}, "not trusted"),
        ({"iss": None}, "names no issuer"),
        ({"aud": "https://other.example"}, "another audience"),
        ({"aud": None}, "lacks one of the claims"),
        ({"sub": None}, "lacks one of the claims"),
        ({"sub": "a\nb"}, "printable"),
        ({"exp": None}, "lacks one of the claims"),
        ({"exp": time.time() - 60}, "expired"),
        ({"exp": time.time() + 1e6}, "good for more than"),
        ({"exp": "soon"}, "form is wrong"),
        ({"exp": float("inf")}, "form is wrong"),
        ({"nbf": time.time() + 600}, "not good yet"),
        ({"iat": time.time() + 600}, "not good yet"),
        ({"jti": "x" * 257}, "jti"),
    ],
)
def test_each_wrong_claim_is_refused(trusted: TrustedIssuer, changed: dict[str, Any], told: str) -> None:
    assert told in reason(TokenVerifier([trusted]), token(**changed))


def test_clocks_may_differ_by_the_leeway(trusted: TrustedIssuer) -> None:
    late = token(exp=time.time() - 10)
    assert asyncio.run(TokenVerifier([trusted]).verify(late)).subject == "ada"
    assert "expired" in reason(TokenVerifier([trusted], leeway_seconds=0), late)


def test_no_token_passes_without_a_signature_of_a_known_key(trusted: TrustedIssuer) -> None:
    verifier = TokenVerifier([trusted])
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert "form is wrong" in reason(verifier, token(stranger))
    assert "does not tell" in reason(verifier, token(key_id="c"))
    assert "does not tell" in reason(verifier, token(key_id=None))
    good = token()
    head, body, signature = good.split(".")
    forged = base64.urlsafe_b64encode(
        json.dumps({**jwt.decode(good, options={"verify_signature": False}), "sub": "eve"}).encode()
    )
    assert "form is wrong" in reason(verifier, f"{head}.{forged.rstrip(b'=').decode()}.{signature}")
    assert "form is wrong" in reason(verifier, f"{head}.{body}.")


def test_neither_none_nor_an_hmac_with_the_public_key_is_a_signature(trusted: TrustedIssuer) -> None:
    verifier = TokenVerifier([trusted])
    assert "algorithm" in reason(verifier, token(None, algorithm="none"))
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    # By hand, for the library refuses to make such a token.
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"a"}').decode().rstrip("=")
    signed = f"{head}.{token().split('.')[1]}"
    signature = base64.urlsafe_b64encode(hmac.digest(public, signed.encode(), "sha256")).decode().rstrip("=")
    forged = f"{signed}.{signature}"
    assert "algorithm" in reason(verifier, forged)
    with pytest.raises(ValidationError, match="algorithms"):
        TrustedIssuer.model_validate({**trusted.model_dump(), "algorithms": ["HS256"]})


def test_a_key_serves_no_algorithm_but_the_one_it_names(trusted: TrustedIssuer, tmp_path: Path) -> None:
    path = tmp_path / "named.json"
    path.write_text(json.dumps({"keys": [jwk(RSA, "a", alg="RS512"), jwk(EC, "b", use="enc")]}))
    verifier = TokenVerifier([trusted.model_copy(update={"jwks_file": path})])
    assert "does not tell" in reason(verifier, token())
    assert "does not tell" in reason(verifier, token(EC, algorithm="ES256", key_id="b"))


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c", "é.é.é", "x" * 20_000, "e30.e30.", "[].{}.x", ".."])
def test_what_is_no_token_is_refused(trusted: TrustedIssuer, text: str) -> None:
    assert reason(TokenVerifier([trusted]), text)


def test_deeply_nested_claims_are_refused(trusted: TrustedIssuer) -> None:
    parts = [base64.urlsafe_b64encode(part).decode() for part in (b'{"alg":"RS256"}', b"[" * 8000, b"x")]
    assert "cannot be read" in reason(TokenVerifier([trusted]), ".".join(parts))


def test_a_token_is_taken_once_where_replay_is_refused(trusted: TrustedIssuer) -> None:
    async def check() -> None:
        verifier = TokenVerifier([trusted], refuses_replay=True)
        await verifier.verify(token(jti="1"))
        with pytest.raises(TokenError, match="used before"):
            await verifier.verify(token(jti="1"))
        await verifier.verify(token(jti="2"))
        with pytest.raises(TokenError, match="no jti"):
            await verifier.verify(token(jti=None))

    asyncio.run(check())


def test_a_full_memory_takes_no_more_until_tokens_have_expired() -> None:
    async def check() -> None:
        seen, now = SeenTokens(max_seen=2), time.time()
        assert await seen.note("i", "old", expires_at=now - 1)
        assert await seen.note("i", "1", expires_at=now + 60)
        assert await seen.note("i", "2", expires_at=now + 60)
        assert not await seen.note("i", "3", expires_at=now + 60)
        assert not await seen.note("i", "1", expires_at=now + 60)
        assert await SeenTokens().note("other", "1", expires_at=now + 60)

    asyncio.run(check())


class Issuer:
    """Tells its keys over HTTPS; counts how often."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.num_asked = 0
        self.status = 200
        self.padding = ""

    def transport(self) -> httpx.MockTransport:
        def answer(request: httpx.Request) -> httpx.Response:
            assert str(request.url) == URL
            self.num_asked += 1
            return httpx.Response(self.status, json={"keys": self.keys, "padding": self.padding})

        return httpx.MockTransport(answer)

    def verifier(self) -> TokenVerifier:
        trusted = TrustedIssuer(issuer=ISSUER, audience=AUDIENCE, jwks_url=URL)
        return TokenVerifier([trusted], transport=self.transport())


def test_a_new_key_is_asked_for_at_most_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, clock = Issuer(jwk(RSA, "a")), [1000.0]
    monkeypatch.setattr(token_keys.time, "monotonic", lambda: clock[0])

    async def check() -> None:
        verifier = issuer.verifier()
        for _ in range(3):
            await verifier.verify(token())
        issuer.keys.append(jwk(EC, "b"))
        for _ in range(5):
            with pytest.raises(TokenError, match="does not tell"):
                await verifier.verify(token(EC, algorithm="ES256", key_id="b"))
        assert issuer.num_asked == 1
        clock[0] += 61
        await verifier.verify(token(EC, algorithm="ES256", key_id="b"))
        assert issuer.num_asked == 2

    asyncio.run(check())


def test_an_issuer_that_is_down_locks_nobody_out_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, clock = Issuer(jwk(RSA, "a")), [1000.0]
    monkeypatch.setattr(token_keys.time, "monotonic", lambda: clock[0])

    async def check() -> None:
        verifier = issuer.verifier()
        await verifier.verify(token())
        issuer.status = 503
        clock[0] += 7200
        await verifier.verify(token())
        clock[0] += 86_400
        with pytest.raises(TokenError, match="cannot be read now") as caught:
            await verifier.verify(token())
        assert caught.value.is_passing

    asyncio.run(check())


def test_an_answer_that_is_too_long_or_no_key_set_is_not_read() -> None:
    issuer = Issuer(jwk(RSA, "a"))
    issuer.padding = "x" * 300_000
    assert "cannot be read now" in reason(issuer.verifier(), token())
    assert "cannot be read now" in reason(Issuer(*({"kty": "RSA"} for _ in range(101))).verifier(), token())
    assert "does not tell" in reason(Issuer({"kty": "RSA"}, {"kty": "oct", "k": "AA", "kid": "a"}).verifier(), token())


@pytest.mark.parametrize(
    "changed", [{"jwks_url": "http://idp.example/jwks", "jwks_file": None}, {"jwks_url": URL}, {"jwks_file": None}]
)
def test_the_source_of_the_keys_is_one_and_safe(trusted: TrustedIssuer, changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"https://|exactly one"):
        TrustedIssuer.model_validate({**trusted.model_dump(), **changed})


def test_an_issuer_is_named_once(trusted: TrustedIssuer) -> None:
    with pytest.raises(ValueError, match="named twice"):
        TokenVerifier([trusted, trusted])


def test_a_token_that_one_gateway_took_is_refused_by_another(trusted: TrustedIssuer, engine: Engine) -> None:
    async def check() -> None:
        first, second = (TokenVerifier([trusted], refuses_replay=True, uses=LedgerTokenUses(engine)) for _ in range(2))
        await first.verify(token(jti="1"))
        with pytest.raises(TokenError, match="used before"):
            await second.verify(token(jti="1"))
        await second.verify(token(jti="2"))

    asyncio.run(check())
