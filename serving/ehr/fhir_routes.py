"""``/v1/fhir/suggestions``: a chart in FHIR R4 in, codes in FHIR R4 out; read again once they were decided."""

from functools import partial
from typing import Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from sqlalchemy import Engine, select

from clinical_coding.codes import split_key
from clinical_coding.records import Setting
from clinical_coding.suggestions import Suggestion
from feedback.decisions import decision_of, final_codes
from ledger.principals import Principal, principals
from ledger.suggestions import load
from serving.ehr.fhir_outcomes import FHIR_JSON, outcome_responses
from serving.ehr.fhir_reading import read_chart, read_request
from serving.ehr.fhir_writing import Decided, StandingCode, write_bundle
from serving.ehr.settings import EhrSettings
from serving.gateway.answering import Answering, check_key
from serving.gateway.auth import require
from serving.gateway.exchange import exchange_of
from serving.gateway.storing import SuggestionStore
from serving.gateway.suggesting import Suggester, check_in_time
from serving.gateway.suggestion_routes import MAY_ASK, IdempotencyKey

__all__ = ["fhir_router"]

_BUNDLE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "A Bundle.", "content": {FHIR_JSON: {"schema": {"type": "object"}}}}
}


def fhir_router(
    settings: EhrSettings, *, engine: Engine, suggester: Suggester, store: SuggestionStore, answering: Answering
) -> APIRouter:
    """Make the endpoints.

    Args:
        settings: How resources are read.
        engine: A migrated database.
        suggester: Who makes suggestions.
        store: Where they are kept.
        answering: Makes and keeps them.
    """
    router = APIRouter(prefix="/v1/fhir", tags=["ehr"])
    refused = outcome_responses(401, 403, 404, 408, 409, 410, 413, 415, 422, 429, 500, 503, 504, 400)

    @router.post("/suggestions", response_class=Response, responses=refused | _BUNDLE)
    async def suggest(
        request: Request,
        resource: Annotated[dict[str, Any], Body(description="A Bundle, or a single DocumentReference.")],
        principal: Annotated[Principal, Depends(require(*MAY_ASK))],
        setting: Annotated[Setting | None, Query(description="Where no Encounter came along.")] = None,
        specialty: Annotated[
            str | None, Query(min_length=1, max_length=128, description="Where no resource tells one.")
        ] = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Suggest codes for a chart: Conditions, Procedures, a draft Claim and their Provenance."""
        if idempotency_key is not None:
            check_key(idempotency_key)

        def read() -> Any:
            chart = read_chart(resource)
            return read_request(chart, specialties=settings.specialties, setting=setting, specialty=specialty)

        asked = await run_sync(read)
        exchange = exchange_of(request.scope)
        answer = await answering.answer(
            asked,
            principal=principal,
            make=partial(suggester.suggest, request, asked),
            key=idempotency_key,
            give_up_at=exchange.give_up_at,
        )
        exchange.facts["suggestion_id"] = answer.suggestion.suggestion_id
        if answer.is_repeated:
            suggester.count_replay()
        else:
            suggester.count(answer.suggestion, store_seconds=answer.store_seconds)
        check_in_time(exchange.give_up_at)
        return _write(await run_sync(partial(write_bundle, asked, answer.suggestion)))

    @router.get("/suggestions/{suggestion_id}", response_class=Response, responses=refused | _BUNDLE)
    def read(
        suggestion_id: Annotated[str, Path()],
        request: Request,
        principal: Annotated[Principal, Depends(require(*MAY_ASK))],
    ) -> Response:
        """Read what stands: the codes as decided, with who decided; before a decision, as suggested."""
        answered = store.read(suggestion_id, principal=principal)
        exchange_of(request.scope).facts["suggestion_id"] = answered.suggestion_id
        with engine.connect() as connection:
            stored = load(connection, suggestion_id)
            decision = decision_of(connection, suggestion_id)
            assert stored.request is not None
            if decision is None:
                return _write(write_bundle(stored.request, answered))
            name = connection.scalar(select(principals.c.name).where(principals.c.id == decision.principal_id))
        decided = Decided(
            principal_id=decision.principal_id,
            principal_name=name or "not told",
            decided_at=decision.decided_at,
            codes=_standing(final_codes(stored, decision.decision), suggestion=answered),
        )
        return _write(write_bundle(stored.request, answered, decided=decided))

    return router


def _standing(keys: frozenset[str], *, suggestion: Suggestion) -> tuple[StandingCode, ...]:
    """Suggested codes in their order, then those that a person brought in."""
    suggested = {f"{code.system}:{code.code}": code for code in suggestion.codes}
    others = {f"{other.system}:{other.code}": other for code in suggestion.codes for other in code.alternatives}
    standing = []
    for key in (*(key for key in suggested if key in keys), *sorted(keys - set(suggested))):
        system, code = split_key(key)
        if key in suggested:
            known = suggested[key]
            standing.append(StandingCode(system, code, known.description, known.confidence))
        else:
            description = others[key].description if key in others else None
            standing.append(StandingCode(system, code, description, None))
    return tuple(standing)


def _write(bundle: str) -> Response:
    return Response(bundle, media_type=FHIR_JSON)
