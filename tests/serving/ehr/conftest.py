"""A gateway that an EHR is connected to, with a scripted model."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from sqlalchemy import Engine
from starlette.testclient import TestClient

from ledger.engine import default_url, migrate, open_engine
from ledger.principals import create_key
from serving.ehr.settings import CdsClient, EhrSettings
from serving.gateway.active import ActiveVersion
from serving.gateway.app import create_app
from serving.gateway.settings import GatewaySettings
from tests.serving.gateway.conftest import FEEDBACK, REASONS, RULES, ScriptedBackend, served

FIXTURES = Path(__file__).parent / "fixtures"
ISSUER = "https://fhir-ehr.example.com/"
PUBLIC_URL = "https://cds.example.org"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(default_url(tmp_path))
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def key(engine: Engine) -> str:
    return create_key(engine, role="coder", name="ada")


@pytest.fixture
def model() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture(scope="session")
def signing_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@pytest.fixture
def gateway(
    tmp_path: Path, engine: Engine, model: ScriptedBackend, signing_key: ec.EllipticCurvePrivateKey
) -> Iterator[TestClient]:
    create_key(engine, role="service", name="epic")
    jwk = ECAlgorithm.to_jwk(signing_key.public_key(), as_dict=True) | {"kid": "example-kid", "alg": "ES384"}
    keys = tmp_path / "jwks.json"
    keys.write_text(json.dumps({"keys": [jwk]}))
    client = CdsClient(issuer=ISSUER, principal="epic", jwks_file=keys)
    app = create_app(
        GatewaySettings(),
        active=ActiveVersion(served(model, None)),
        engine=engine,
        feedback=FEEDBACK,
        reasons=REASONS,
        systems=RULES.systems,
        ehr=EhrSettings(public_url=PUBLIC_URL, cds_clients=(client,), cors_origins=("https://ehr.example.com",)),
    )
    with TestClient(app) as opened:
        yield opened


@pytest.fixture
def sign(signing_key: ec.EllipticCurvePrivateKey) -> Callable[..., dict[str, str]]:
    """Make the headers of a call of a path; claims may be changed."""

    def make(path: str, *, key: Any = signing_key, **claims: Any) -> dict[str, str]:
        now = int(time.time())
        told = {"iss": ISSUER, "aud": f"{PUBLIC_URL}{path}", "iat": now, "exp": now + 300, "jti": str(uuid.uuid4())}
        header = {"kid": "example-kid", "jku": "https://evil.example.com/keys"}
        token = jwt.encode(told | claims, key, algorithm="ES384", headers=header)
        return {"Authorization": f"Bearer {token}"}

    return make


@pytest.fixture
def cds_request() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((FIXTURES / "cds-request.json").read_text())
    return read


@pytest.fixture
def chart() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((FIXTURES / "chart-bundle.json").read_text())
    return read
