"""The EHR's routers and layers, joined to the gateway's parts."""

from dataclasses import dataclass

from fastapi import APIRouter, FastAPI
from sqlalchemy import Engine

from clinical_coding.code_systems import CodeSystems
from feedback.settings import FeedbackSettings, ReasonCodes
from serving.ehr.cds_clients import CdsClients
from serving.ehr.cds_feedback import FeedbackKeeper
from serving.ehr.cds_routes import cds_router
from serving.ehr.cors import CdsCorsMiddleware
from serving.ehr.fhir_outcomes import OutcomeMiddleware
from serving.ehr.fhir_routes import fhir_router
from serving.ehr.settings import EhrSettings
from serving.gateway.answering import Answering
from serving.gateway.storing import SuggestionStore
from serving.gateway.suggesting import Suggester

__all__ = ["EhrRouters", "add_ehr_layers", "join_ehr"]


@dataclass(frozen=True, slots=True)
class EhrRouters:
    """Endpoints: of FHIR, which take keys, and of CDS Hooks, which check tokens themselves."""

    fhir: APIRouter
    cds: APIRouter


def join_ehr(
    settings: EhrSettings,
    *,
    engine: Engine,
    feedback: FeedbackSettings,
    reasons: ReasonCodes,
    systems: CodeSystems,
    suggester: Suggester,
    store: SuggestionStore,
    answering: Answering,
) -> EhrRouters:
    """Make the endpoints.

    Args:
        settings: Who may call, and how codes are read.
        engine: A migrated database.
        feedback: How decisions are kept.
        reasons: The reasons that can be given.
        systems: The releases that judge codes.
        suggester: Who makes suggestions.
        store: Where they are kept.
        answering: Makes and keeps them.
    """
    keeper = FeedbackKeeper(
        engine, feedback=feedback, reasons=reasons, systems=systems, override_reason=settings.override_reason
    )
    cds = cds_router(
        settings,
        engine=engine,
        suggester=suggester,
        answering=answering,
        keeper=keeper,
        reasons=reasons,
        clients=CdsClients(settings, engine=engine),
    )
    return EhrRouters(
        fhir=fhir_router(settings, engine=engine, suggester=suggester, store=store, answering=answering), cds=cds
    )


def add_ehr_layers(app: FastAPI, settings: EhrSettings) -> None:
    """Put the layers around the application that the EHR's paths need; to be added after authentication."""
    app.add_middleware(OutcomeMiddleware)
    if settings.cors_origins:
        app.add_middleware(CdsCorsMiddleware, origins=settings.cors_origins)
