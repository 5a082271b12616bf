"""CDS Hooks: from the request of the specification to the decision in the ledger."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from clinical_coding.codes import CodeSystem
from clinical_coding.predictions import PredictedCode
from feedback.decisions import decision_of
from feedback.tables import cases
from ledger.principals import authenticate, create_key
from ledger.retention import purge
from serving.ehr.cds_tables import cds_cards, cds_comments, cds_outcomes
from tests.serving.gateway.conftest import CODES, ScriptedBackend

SERVICE = "/cds-services/suggest-codes-at-discharge"
Sign = Callable[..., dict[str, str]]


def call(gateway: TestClient, sign: Sign, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = gateway.post(SERVICE, json=body, headers=sign(SERVICE))
    assert response.status_code == 200, response.text
    cards: list[dict[str, Any]] = response.json()["cards"]
    return cards


def tell(gateway: TestClient, sign: Sign, *entries: dict[str, Any]) -> int:
    path = f"{SERVICE}/feedback"
    return gateway.post(path, json={"feedback": list(entries)}, headers=sign(path)).status_code


def accepted(card: dict[str, Any], *, place: int = 0, at: str = "2026-05-04T10:05:31Z") -> dict[str, Any]:
    chosen = [{"id": card["suggestions"][place]["uuid"]}]
    return {"card": card["uuid"], "outcome": "accepted", "acceptedSuggestions": chosen, "outcomeTimestamp": at}


def overridden(card: dict[str, Any], *, reason: str | None = None) -> dict[str, Any]:
    told = {"userComment": "He has no such thing"}
    more = {} if reason is None else {"reason": {"code": reason, "system": "urn:chartloop:override-reason"}}
    at = "2026-05-04T10:06:02Z"
    return {"card": card["uuid"], "outcome": "overridden", "overrideReason": told | more, "outcomeTimestamp": at}


def decided(engine: Engine) -> dict[str, Any] | None:
    with engine.connect() as connection:
        suggestion_id = connection.scalars(select(cds_cards.c.suggestion_id)).first()
        assert suggestion_id is not None
        found = decision_of(connection, suggestion_id)
    return None if found is None else json.loads(found.decision.model_dump_json())


def test_discovery_is_open_and_names_both_hooks(gateway: TestClient) -> None:
    services = gateway.get("/cds-services").json()["services"]
    assert {service["hook"] for service in services} == {"encounter-discharge", "chartloop-sign-and-code"}
    assert all({"id", "description", "prefetch"} <= set(service) for service in services)


def test_one_card_a_code_with_alternatives_and_reasons(
    gateway: TestClient, sign: Sign, cds_request: dict[str, Any]
) -> None:
    cards = [card for card in call(gateway, sign, cds_request) if "suggestions" in card]
    [card] = cards
    assert card["summary"].startswith("Suggested code I10 (0.90)") and len(card["summary"]) < 140
    assert card["selectionBehavior"] == "at-most-one"
    assert [one["label"] for one in card["suggestions"]] == ["Assign I10", "Assign I11.9 instead"]
    assert "essential hypertension" in card["detail"]
    assert all(reason["display"] for reason in card["overrideReasons"])
    resource = card["suggestions"][0]["actions"][0]["resource"]
    assert (resource["subject"], resource["encounter"]) == (
        {"reference": "Patient/1288992"},
        {"reference": "Encounter/456"},
    )
    assert "systemActions" not in card


@pytest.mark.parametrize(
    ("place", "action", "to"), [(0, "accept", None), (1, "modify", "I11.9")], ids=["accepted", "alternative"]
)
def test_accepting_decides(
    gateway: TestClient,
    sign: Sign,
    cds_request: dict[str, Any],
    engine: Engine,
    place: int,
    action: str,
    to: str | None,
) -> None:
    [card] = [card for card in call(gateway, sign, cds_request) if "suggestions" in card]
    assert tell(gateway, sign, accepted(card, place=place)) == 200
    decision = decided(engine)
    assert decision is not None
    assert [(code["action"], code["code"], code["to"]) for code in decision["codes"]] == [(action, "I10", to)]


@pytest.mark.parametrize(
    ("told", "kept"), [("not-documented", "not-documented"), (None, "reason-not-told"), ("x", "reason-not-told")]
)
def test_overriding_rejects_with_the_reason(
    gateway: TestClient, sign: Sign, cds_request: dict[str, Any], engine: Engine, told: str | None, kept: str
) -> None:
    [card] = [card for card in call(gateway, sign, cds_request) if "suggestions" in card]
    assert tell(gateway, sign, overridden(card, reason=told)) == 200
    decision = decided(engine)
    assert decision is not None
    assert [(code["action"], code["reason"]) for code in decision["codes"]] == [("reject", kept)]
    with engine.connect() as connection:
        assert connection.scalars(select(cds_comments.c.comment)).all() == ["He has no such thing"]


def test_a_card_that_was_ignored_leaves_the_suggestion_open(
    gateway: TestClient, sign: Sign, cds_request: dict[str, Any], engine: Engine, model: ScriptedBackend
) -> None:
    model.codes = (
        *CODES[:1],
        PredictedCode(system=CodeSystem.CPT, code="99213", confidence=0.8, suggested=True, evidence=CODES[0].evidence),
    )
    first, second = (card for card in call(gateway, sign, cds_request) if "suggestions" in card)
    assert tell(gateway, sign, accepted(first)) == 200
    assert decided(engine) is None
    assert tell(gateway, sign, accepted(second, at="2026-05-04T12:05:33+02:00")) == 200
    assert decided(engine) is not None


def test_repeated_calls_and_feedback_do_nothing_twice(
    gateway: TestClient, sign: Sign, cds_request: dict[str, Any], engine: Engine
) -> None:
    cards = call(gateway, sign, cds_request)
    assert call(gateway, sign, cds_request) == cards
    [card] = [card for card in cards if "suggestions" in card]
    # The same moment, written in two zones.
    entries = [accepted(card), accepted(card, at="2026-05-04T12:05:31+02:00")]
    assert [tell(gateway, sign, *entries), tell(gateway, sign, *entries)] == [200, 200]
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(cds_outcomes)) == 1
        assert connection.scalar(select(func.count()).select_from(cds_cards)) == len(cards)


def test_feedback_on_unknown_cards_and_foreign_choices_is_refused(
    gateway: TestClient, sign: Sign, cds_request: dict[str, Any], engine: Engine
) -> None:
    [card] = [card for card in call(gateway, sign, cds_request) if "suggestions" in card]
    assert tell(gateway, sign, accepted(card) | {"card": "4e0a3a1e-3283-4575-ab82-028d55fe2719"}) == 404
    assert tell(gateway, sign, accepted(card) | {"acceptedSuggestions": [{"id": "another"}]}) == 422
    assert decided(engine) is None


def test_manual_route_shows_no_codes(gateway: TestClient, sign: Sign, cds_request: dict[str, Any]) -> None:
    cds_request["prefetch"]["encounter"]["class"]["code"] = "IMP"
    cds_request["prefetch"]["encounter"]["period"] = {"start": "2026-05-04", "end": "2026-05-06"}
    cds_request["prefetch"]["documents"]["entry"][0]["resource"]["type"] = {"text": "Discharge summary"}
    cards = call(gateway, sign, cds_request)
    assert [card["summary"] for card in cards] == ["Coded without suggestions"]
    assert "I10" not in json.dumps(cards)


def test_prefetch_is_needed_and_must_be_of_the_same_patient(
    gateway: TestClient, sign: Sign, cds_request: dict[str, Any]
) -> None:
    without = cds_request | {"prefetch": {"patient": cds_request["prefetch"]["patient"], "documents": None}}
    assert gateway.post(SERVICE, json=without, headers=sign(SERVICE)).status_code == 412
    cds_request["context"]["patientId"] = "other"
    response = gateway.post(SERVICE, json=cds_request, headers=sign(SERVICE))
    assert response.status_code == 422 and "other" not in response.text


def test_tokens_are_checked_whole(gateway: TestClient, sign: Sign, cds_request: dict[str, Any]) -> None:
    forged = sign(SERVICE, key=ec.generate_private_key(ec.SECP384R1()))
    wrong = [
        {},
        {"Authorization": "Bearer none"},
        forged,
        sign(SERVICE, iss="https://another.example.com/"),
        sign("/cds-services/suggest-codes-at-signing"),
        sign(SERVICE, exp=1_422_568_860),
        sign(SERVICE, jti=None),
    ]
    for headers in wrong:
        assert gateway.post(SERVICE, json=cds_request, headers=headers).status_code == 401
    once = sign(SERVICE)
    statuses = [gateway.post(SERVICE, json=cds_request, headers=once).status_code for _ in range(2)]
    assert statuses == [200, 401]


def test_browsers_of_allowed_origins_alone_may_call(gateway: TestClient) -> None:
    def origin(path: str, name: str) -> str | None:
        return gateway.get(path, headers={"Origin": name}).headers.get("access-control-allow-origin")

    assert origin("/cds-services", "https://ehr.example.com") == "https://ehr.example.com"
    assert origin("/cds-services", "https://evil.example.com") is None
    assert origin("/healthz", "https://ehr.example.com") is None


def test_the_purge_deletes_comments(
    gateway: TestClient, sign: Sign, cds_request: dict[str, Any], engine: Engine
) -> None:
    [card] = [card for card in call(gateway, sign, cds_request) if "suggestions" in card]
    assert tell(gateway, sign, accepted(card) | {"overrideReason": {"userComment": "He has it since May"}}) == 200
    admin = authenticate(engine, create_key(engine, role="admin", name="root"))
    assert admin is not None
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(cds_comments)) == 1
    purge(engine, before=datetime.now(UTC), principal=admin)
    with engine.connect() as connection:
        is_open = connection.scalar(select(func.count()).select_from(cases).where(cases.c.state == "open"))
        num_left = connection.scalar(select(func.count()).select_from(cds_comments))
    # What a supervisor still has to look at is kept whole.
    assert num_left == is_open
