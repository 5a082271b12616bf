"""Keys, tokens of identity providers, and how often they may ask."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from pydantic import ValidationError
from sqlalchemy import Engine
from starlette.testclient import TestClient

from ledger.audit_log import entries
from ledger.keys import KeyTerms
from ledger.principals import create_key, list_principals, revoke
from serving.gateway import limits
from serving.gateway.limits import Buckets
from serving.gateway.security_settings import OidcSettings

ISSUER, AUDIENCE = "https://idp.hospital.example/realm", "chartloop"
KEY = ec.generate_private_key(ec.SECP256R1())
URL = "/v1/suggestions/none"


def bearer(proof: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {proof}"}


def token(*, key: Any = KEY, **changed: Any) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": time.time() + 300, "groups": ["coders"]} | changed
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "k"})


@pytest.fixture
def oidc(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [{**ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "k"}]}))
    return {
        "issuers": [{"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["ES256"], "jwks_file": str(path)}],
        "role_claim": "groups",
        "roles": {"chiefs": "supervisor", "coders": "coder"},
    }


@pytest.fixture
def federated(open_gateway: Callable[..., TestClient], oidc: dict[str, Any]) -> Callable[..., TestClient]:
    def open_(**changed: Any) -> TestClient:
        return open_gateway(security={"oidc": oidc | changed}, key_cache_seconds=0)

    return open_


def test_a_person_of_the_identity_provider_may_do_what_the_role_may(
    federated: Callable[..., TestClient], engine: Engine, request_body: dict[str, Any]
) -> None:
    client = federated()
    assert client.post("/v1/suggestions", json=request_body, headers=bearer(token())).status_code == 200
    assert client.get("/v1/cases", headers=bearer(token())).status_code == 403
    assert client.get("/v1/cases", headers=bearer(token(groups=["coders", "chiefs"]))).status_code == 200
    [person] = list_principals(engine)
    assert (person.name, person.role) == ("idp.hospital.example/ada", "supervisor")
    told = [entry["action"] for entry in entries(engine, subject=f"principal:{person.id}", limit=9)]
    assert told == ["principal-role-changed", "principal-federated"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"groups": ["visitors"]}, "names no role"),
        ({"groups": {"coders": True}}, "names no role"),
        ({"exp": 1}, "expired"),
        ({"aud": "another"}, "audience"),
        ({"key": ec.generate_private_key(ec.SECP256R1())}, "signature"),
    ],
)
def test_a_token_that_does_not_hold_is_refused_and_makes_nobody(
    federated: Callable[..., TestClient], engine: Engine, changed: dict[str, Any], told: str
) -> None:
    answer = federated().get(URL, headers=bearer(token(**changed)))
    assert answer.status_code == 401 and told in answer.json()["detail"]
    assert (
        answer.json()["type"].endswith("wrong-token") and 'error="invalid_token"' in answer.headers["www-authenticate"]
    )
    assert list_principals(engine) == ()


def test_scopes_of_a_token_narrow_its_role(federated: Callable[..., TestClient]) -> None:
    client = federated(scope_claim="scope")
    statuses = {
        scope: client.get(URL, headers=bearer(token(scope=scope))).status_code
        for scope in ("openid read", "suggest", "")
    }
    assert statuses == {"openid read": 404, "suggest": 403, "": 403}


@pytest.mark.parametrize("claim", ["realm_access.roles", "https://hospital.example/roles"])
def test_the_role_may_stand_in_a_nested_claim_or_under_a_url(federated: Callable[..., TestClient], claim: str) -> None:
    value: Any = {"realm_access": {"roles": ["coders"]}} if "://" not in claim else {claim: "coders"}
    assert federated(role_claim=claim).get(URL, headers=bearer(token(groups=None, **value))).status_code == 404


def test_a_person_who_was_revoked_here_stays_out(federated: Callable[..., TestClient], engine: Engine) -> None:
    client = federated()
    assert client.get(URL, headers=bearer(token())).status_code == 404
    revoke(engine, name="idp.hospital.example/ada")
    assert client.get(URL, headers=bearer(token())).status_code == 401


def test_an_issuer_whose_keys_cannot_be_read_is_a_wait(
    open_gateway: Callable[..., TestClient], oidc: dict[str, Any], tmp_path: Path
) -> None:
    oidc["issuers"][0]["jwks_file"] = str(tmp_path / "none.json")
    answer = open_gateway(security={"oidc": oidc}).get(URL, headers=bearer(token()))
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    assert answer.json()["type"].endswith("no-issuer")


def test_without_identity_providers_a_token_is_an_unknown_key(gateway: TestClient) -> None:
    assert gateway.get(URL, headers=bearer(token())).json()["type"].endswith("wrong-key")


def test_settings_that_give_no_role_are_refused(oidc: dict[str, Any]) -> None:
    for changed in ({"roles": {}}, {"roles": {"x": "doctor"}}, {"issuers": []}):
        with pytest.raises(ValidationError):
            OidcSettings.model_validate(oidc | changed)


def test_a_key_may_ask_as_often_as_it_says(gateway: TestClient, engine: Engine) -> None:
    slow = create_key(engine, role="coder", name="slow", terms=KeyTerms(requests_per_minute=12))
    answers = [gateway.get(URL, headers=bearer(slow)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [404, 404, 429]
    assert answers[-1].json()["type"].endswith("rate-limited") and answers[-1].headers["retry-after"] == "5"
    assert gateway.get(URL).status_code == 404


def test_guessing_is_slowed_down_while_a_key_that_was_right_still_works(
    open_gateway: Callable[..., TestClient], engine: Engine, key: str
) -> None:
    client = open_gateway(security={"failures_per_minute": 12}, key_cache_seconds=0)
    assert client.get(URL, headers=bearer(key)).status_code == 404
    guesses = [client.get(URL, headers=bearer(f"cl_{number}")).status_code for number in range(5)]
    assert guesses == [401, 401, 429, 429, 429]
    assert client.get(URL, headers=bearer(key)).status_code == 404
    revoke(engine, name="ada")
    assert client.get(URL, headers=bearer(key)).status_code == 401
    assert client.get(URL).status_code == 401


def test_a_bucket_fills_with_time_and_the_table_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    buckets = Buckets(max_names=2)
    assert [buckets.take("a", per_minute=60) for _ in range(11)] == [0.0] * 10 + [1.0]
    assert buckets.wait_seconds("a", per_minute=60) == 1.0
    now[0] += 2.5
    assert [buckets.take("a", per_minute=60) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert buckets.take("b", per_minute=60) == buckets.take("c", per_minute=60) == 0.0
    assert len(buckets._levels) == 2 and buckets.take("a", per_minute=60) == 0.0
