from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from feedback.errors import FeedbackError
from governance.promotion import promote
from governance.routes import governance_router
from ledger.principals import Principal


@pytest.fixture
def client(engine: Engine) -> Callable[[Principal], TestClient]:
    """The endpoints, for one principal; what is raised comes through."""

    def make(principal: Principal) -> TestClient:
        def acting(request: Request) -> Principal:
            return principal

        app = FastAPI()
        app.include_router(governance_router(engine, acting=acting))
        return TestClient(app)

    return make


def test_a_reviewer_sees_who_is_champion_and_how_it_came(
    engine: Engine, data_dir: Path, register: Callable[..., int], make_principal: Any, client: Any
) -> None:
    reviewer = make_principal(name="rea")
    with pytest.raises(FeedbackError, match="no version was promoted yet") as caught:
        client(reviewer).get("/v1/versions/champion")
    assert caught.value.kind == "unknown-id"
    assert client(reviewer).get("/v1/promotions").json() == []
    for seed in ("one", "two"):
        number = register(seed)
        promote(engine, str(number), reason=f"reason {seed}", principal=reviewer, data_dir=data_dir)
    champion = client(make_principal("admin")).get("/v1/versions/champion").json()
    history = client(reviewer).get("/v1/promotions").json()
    assert champion["version_number"] == 2
    assert champion["promotion"] == history[0]
    assert [(row["reason"], row["principal"], row["previous_number"]) for row in history] == [
        ("reason two", "rea", 1),
        ("reason one", "rea", None),
    ]
    assert all(row["at"].endswith(("Z", "+00:00")) for row in history)


@pytest.mark.parametrize("role", ["service", "coder", "supervisor"])
@pytest.mark.parametrize("path", ["/v1/versions/champion", "/v1/promotions"])
def test_others_do_not(make_principal: Any, client: Any, role: str, path: str) -> None:
    with pytest.raises(FeedbackError, match=f"is a {role}; promotions are shown to reviewer and admin") as caught:
        client(make_principal(role)).get(path)
    assert caught.value.kind == "forbidden"
