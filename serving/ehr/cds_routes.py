"""``/cds-services``: CDS Hooks 2.0. Discovery, the services, and feedback on their cards.

Source: https://cds-hooks.hl7.org/2.0/. An EHR's own FHIR server is never asked: what did not come along as
prefetch is answered with 412.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from sqlalchemy import Connection, Engine

from clinical_coding.suggestions import SuggestionRequest
from feedback.settings import ReasonCodes
from ledger.group_commit import write
from ledger.principals import Principal
from serving.ehr.cds_cards import write_cards
from serving.ehr.cds_clients import CdsClients
from serving.ehr.cds_feedback import FeedbackKeeper
from serving.ehr.cds_messages import CdsFeedback, CdsRequest
from serving.ehr.cds_store import keep_cards, keep_outcomes
from serving.ehr.fhir_reading import Chart, read_request
from serving.ehr.settings import EhrSettings
from serving.gateway.answering import Answering
from serving.gateway.examples import problem_responses
from serving.gateway.exchange import exchange_of
from serving.gateway.problems import ProblemError
from serving.gateway.suggesting import Suggester, check_in_time

__all__ = ["SERVICES", "cds_router"]

ServiceId = Literal["suggest-codes-at-discharge", "suggest-codes-at-signing"]

PREFETCH: Final[Mapping[str, str]] = {
    "patient": "Patient/{{context.patientId}}",
    "encounter": "Encounter/{{context.encounterId}}",
    "documents": "DocumentReference?encounter=Encounter/{{context.encounterId}}&status=current",
    "coverage": "Coverage?patient={{context.patientId}}&status=active",
}
_REQUIRED: Final = ("patient", "encounter", "documents")
_SHARED: Final[dict[str, Any]] = {
    "title": "Suggest codes",
    "description": "Suggests ICD-10-CM, ICD-10-PCS, CPT and HCPCS codes from an encounter's notes, each with evidence.",
    "usageRequirements": "Notes must come along as text/plain in DocumentReference.content.attachment.data.",
}
SERVICES: Final[Mapping[ServiceId, Mapping[str, Any]]] = {
    "suggest-codes-at-discharge": {"hook": "encounter-discharge", **_SHARED, "prefetch": PREFETCH},
    # A hook of our own: a coder or physician signs the record, and codes are due. Same context as at discharge.
    "suggest-codes-at-signing": {"hook": "chartloop-sign-and-code", **_SHARED, "prefetch": PREFETCH},
}


def cds_router(
    settings: EhrSettings,
    *,
    engine: Engine,
    suggester: Suggester,
    answering: Answering,
    keeper: FeedbackKeeper,
    reasons: ReasonCodes,
    clients: CdsClients,
) -> APIRouter:
    """Make the endpoints.

    Args:
        settings: How resources are read and cards link.
        engine: A migrated database.
        suggester: Who makes suggestions.
        answering: Makes and keeps them.
        keeper: Turns outcomes into decisions.
        reasons: The reasons for overriding a card.
        clients: Recognises the EHR.
    """
    router = APIRouter(prefix="/cds-services", tags=["ehr"])
    problems = problem_responses(
        *("malformed-body", "no-key", "wrong-token", "forbidden", "unknown-id", "slow-body", "key-reused", "purged"),
        *("prefetch-missing", "too-large", "invalid-request", "invalid-feedback", "invalid-notes", "queue-full"),
        *("scoring-failed", "unavailable", "no-database", "deadline"),
    )
    Client = Annotated[Principal, Depends(clients)]

    @router.get("")
    def discover() -> dict[str, Any]:
        """Tell which services there are."""
        return {"services": [{"id": name, **service} for name, service in SERVICES.items()]}

    @router.post("/{service}", responses=problems)
    async def call(service: ServiceId, request: Request, asked: CdsRequest, client: Client) -> dict[str, Any]:
        """Suggest codes for an encounter, as cards; stored, with the cards that are shown, before it is answered."""
        _check_hook(service, asked)
        wanted = await run_sync(partial(_read, asked, settings=settings))
        exchange = exchange_of(request.scope)
        answer = await answering.answer(
            wanted,
            principal=client,
            make=partial(suggester.suggest, request, wanted),
            key=f"cds-hooks {service} {asked.hookInstance}",
            give_up_at=exchange.give_up_at,
        )
        exchange.facts["suggestion_id"] = answer.suggestion.suggestion_id
        if answer.is_repeated:
            suggester.count_replay()
        else:
            suggester.count(answer.suggestion, store_seconds=answer.store_seconds)
        cards = write_cards(wanted, answer.suggestion, settings=settings, reasons=reasons)

        def keep(connection: Connection) -> None:
            keep_cards(connection, answer.suggestion, cards=cards, service=service, principal=client)

        await run_sync(write, engine, keep)
        check_in_time(exchange.give_up_at)
        return {"cards": cards}

    @router.post("/{service}/feedback", responses=problems)
    async def feedback(service: ServiceId, request: Request, told: CdsFeedback, client: Client) -> dict[str, Any]:
        """Take what became of cards; a suggestion whose code cards are all told of is decided by it."""
        began_at = time.monotonic()

        def work() -> dict[str, int]:
            num_known, suggestion_ids = keep_outcomes(engine, told.feedback, service=service, principal=client)
            settled = [keeper.settle(suggestion_id, principal=client) for suggestion_id in suggestion_ids]
            return {"num_known": num_known, **{f"num_{kind}": settled.count(kind) for kind in set(settled)}}

        facts = await run_sync(work)
        exchange_of(request.scope).facts |= {**facts, "feedback_seconds": round(time.monotonic() - began_at, 4)}
        if not facts["num_known"]:
            raise ProblemError("unknown-id", "feedback.card: none of the cards was shown to this EHR by this service")
        return {}

    return router


def _check_hook(service: ServiceId, asked: CdsRequest) -> None:
    hook = SERVICES[service]["hook"]
    if asked.hook != hook:
        raise ProblemError("invalid-request", f"hook: this service is called by the hook {hook}")


def _read(asked: CdsRequest, *, settings: EhrSettings) -> SuggestionRequest:
    """Read the prefetch as a request.

    Raises:
        ProblemError: Something did not come along, is of another patient or encounter, or cannot be used.
    """
    prefetch = asked.prefetch or {}
    missing = [name for name in _REQUIRED if prefetch.get(name) is None]
    if missing:
        raise ProblemError("prefetch-missing", f"prefetch lacks {', '.join(missing)}")
    chart = Chart()
    for name in PREFETCH:
        if prefetch.get(name) is not None:
            chart.add(prefetch[name], field=f"prefetch.{name}")
    if not chart.documents:
        raise ProblemError("prefetch-missing", "prefetch.documents holds no DocumentReference")
    _check_same(chart.patient, asked.context.patientId, field="patient")
    _check_same(chart.encounter, asked.context.encounterId, field="encounter")
    return read_request(chart, specialties=settings.specialties)


def _check_same(resource: Any, identifier: str, *, field: str) -> None:
    # Codes of one patient on the chart of another would be worse than none.
    if resource is None or resource.id != identifier:
        detail = f"prefetch.{field} is not the resource that context.{field}Id names"
        raise ProblemError("invalid-request", detail)
