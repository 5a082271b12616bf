"""Every route of the gateway, by every role, from the routes themselves."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from ledger.audit_log import entries
from ledger.keys import KeyTerms, Scope
from ledger.principals import Role, create_key, revoke
from serving.gateway.access import ACCESS, Access, AccessTable

OPEN: Final = sorted(place for place, access in ACCESS.items() if access.is_open)
GUARDED: Final = sorted(place for place, access in ACCESS.items() if not (access.is_open or access.checks_itself))
Asks = Callable[..., int]


@pytest.fixture
def asks(gateway: TestClient) -> Asks:
    """Ask a route with a key; answers the status."""

    def ask(place: tuple[str, str], key: str | None) -> int:
        method, route = place
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
        headers["Authorization"] = "" if key is None else f"Bearer {key}"
        body = b"{}" if method == "POST" else None
        path = re.sub(r"\{[^}]*\}", "0", route)
        return gateway.request(method, path, headers=headers, content=body).status_code

    return ask


@pytest.fixture
def keys(engine: Engine) -> dict[Role, str]:
    return {role: create_key(engine, role=role, name=f"a-{role}") for role in Role}


def test_the_table_and_the_routes_are_the_same(gateway: TestClient) -> None:
    app = gateway.app
    assert isinstance(app, FastAPI)
    assert AccessTable(app.routes, metrics_need_key=False).lines == dict(ACCESS)
    documented = {(method.upper(), route) for route, methods in app.openapi()["paths"].items() for method in methods}
    assert documented <= set(ACCESS)


def test_a_route_without_a_line_and_a_line_without_a_route_end_the_start(gateway: TestClient) -> None:
    app = gateway.app
    assert isinstance(app, FastAPI)
    for changed, told in (
        (
            {place: access for place, access in ACCESS.items() if place[1] != "/v1/jobs"},
            "without a line: POST /v1/jobs",
        ),
        ({**ACCESS, ("GET", "/v1/secret"): Access()}, "without a route: GET /v1/secret"),
    ):
        with pytest.raises(ValueError, match=told):
            AccessTable(app.routes, lines=changed, metrics_need_key=False)


def test_every_role_may_do_what_its_line_says_and_nothing_else(asks: Asks, keys: dict[Role, str]) -> None:
    wrong = [
        (*place, role, status)
        for place in GUARDED
        for role in Role
        for status in [asks(place, keys[role])]
        if (status in (401, 403)) is (role in ACCESS[place].roles)
    ]
    assert wrong == []


def test_no_route_answers_without_a_key_that_works(asks: Asks, engine: Engine) -> None:
    ended = create_key(engine, role="admin", name="ended")
    revoke(engine, name="ended")
    expired = create_key(engine, role="admin", name="old", terms=KeyTerms(lifetime=timedelta(microseconds=1)))
    assert {asks(place, None) for place in GUARDED} == {401}
    for key in ("cl_wrong", ended, expired):
        assert {asks(place, key) for place in GUARDED[:8]} <= {401, 429}


def test_a_key_of_one_scope_opens_the_routes_of_that_scope_alone(asks: Asks, engine: Engine) -> None:
    keys = {
        (role, scope): create_key(engine, role=role, name=f"{role} {scope}", terms=KeyTerms(frozenset({scope})))
        for role in Role
        for scope in Scope
    }
    for place in GUARDED:
        role = min(ACCESS[place].roles)
        opened = {scope for scope in Scope if asks(place, keys[role, scope]) != 403}
        assert opened == {ACCESS[place].scope}, (place, role)


def test_open_routes_need_no_key_and_hold_no_text(asks: Asks) -> None:
    assert {asks(place, None) for place in OPEN} <= {200, 404, 503}
    assert not any(ACCESS[place].reads_text or place[1].startswith("/v1/") for place in OPEN)


def test_unknown_paths_are_told_to_nobody_without_a_key(asks: Asks, keys: dict[Role, str]) -> None:
    for place in (("GET", "/v1/none"), ("PATCH", "/v1/suggestions"), ("GET", "/v1/suggestions/bulk/x")):
        assert (asks(place, None), asks(place, keys[Role.ADMIN])) in ((401, 404), (401, 405))


def test_metrics_take_a_key_where_they_are_set_so(open_gateway: Any, keys: dict[Role, str]) -> None:
    closed = open_gateway(security={"metrics_need_key": True})
    statuses = [closed.get("/metrics", headers={"Authorization": f"Bearer {keys[role]}"}).status_code for role in Role]
    assert closed.get("/metrics").status_code == 401
    assert statuses == [200 if role in (Role.SERVICE, Role.ADMIN) else 403 for role in Role]


def test_reading_text_is_noted_before_it_goes_out(
    gateway: TestClient, engine: Engine, request_body: dict[str, Any]
) -> None:
    suggestion_id = gateway.post("/v1/suggestions", json=request_body).json()["suggestion_id"]
    assert entries(engine, action="clinical-text-read", limit=9) == ()
    read = gateway.get(f"/v1/suggestions/{suggestion_id}")
    [entry] = entries(engine, action="clinical-text-read", limit=9)
    assert entry["principal"] == "ada" and entry["details"] == {
        "route": "/v1/suggestions/{suggestion_id}",
        "ids": [suggestion_id],
        "trace_id": read.headers["x-trace-id"],
    }
    assert gateway.get("/v1/suggestions/none").status_code == 404
    assert gateway.get("/v1/queries").status_code == 200
    assert len(entries(engine, action="clinical-text-read", limit=9)) == 1


def test_what_cannot_be_noted_is_not_read(gateway: TestClient, engine: Engine, request_body: dict[str, Any]) -> None:
    suggestion_id = gateway.post("/v1/suggestions", json=request_body).json()["suggestion_id"]
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER full BEFORE INSERT ON audit_log WHEN NEW.action = 'clinical-text-read' "
                "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
        )
    refused = gateway.get(f"/v1/suggestions/{suggestion_id}")
    assert refused.status_code == 503 and "hypertension" not in refused.text
    assert refused.json()["type"].endswith("no-database") and refused.headers["retry-after"]
