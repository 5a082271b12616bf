from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from ledger.principals import Role, create_key
from scripts.fuzz_api import fuzz


@pytest.mark.filterwarnings("ignore")
def test_no_answer_is_a_failure_or_undocumented(gateway: TestClient, engine: Engine) -> None:
    keys = [create_key(engine, role=role, name=f"a-{role}") for role in Role]
    document = gateway.get("/openapi.json").json()
    del gateway.headers["Authorization"]

    def send(**request: Any) -> Any:
        return gateway.request(**request, follow_redirects=False)

    report = fuzz(document, send=send, keys=keys, num_examples=150)
    assert report.failures == {}
    assert report.num_examples >= 120 and {200, 401, 403, 422} <= set(report.statuses)
