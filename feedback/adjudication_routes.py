"""The queue and adjudication over HTTP (stage 9): for supervisors' screens.

Endpoints work in threads, since the database blocks. What goes wrong is raised as ``FeedbackError``
and answered by whoever mounts the router, which also says who acts.
"""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import Engine

from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import Adjudication
from feedback.adjudication import adjudicate, load_adjudication
from feedback.case_view import CaseView
from feedback.errors import ForbiddenError
from feedback.queue import MAX_PAGE, QueuePage, claim, list_cases, next_case, release, show
from feedback.settings import FeedbackSettings
from feedback.verdicts import AdjudicationRequest
from ledger.principals import Principal, Role

__all__ = ["adjudication_router"]

# Verdicts hold no notes; who exports training sets needs to look them up.
_MAY_READ = (Role.SUPERVISOR, Role.ADMIN, Role.SERVICE)


def adjudication_router(
    engine: Engine, *, acting: Callable[[Request], Principal], settings: FeedbackSettings, systems: CodeSystems
) -> APIRouter:
    """Make the endpoints.

    Args:
        engine: A migrated database.
        acting: A FastAPI dependency that tells who acts.
        settings: How long a claim lasts.
        systems: The releases that judge and describe codes.
    """
    router = APIRouter(prefix="/v1", tags=["adjudication"])
    router.include_router(_queue(engine, acting=acting, settings=settings, systems=systems))
    router.include_router(_verdicts(engine, acting=acting, systems=systems))
    return router


def _queue(
    engine: Engine, *, acting: Callable[[Request], Principal], settings: FeedbackSettings, systems: CodeSystems
) -> APIRouter:
    router = APIRouter(prefix="/cases")

    @router.get("")
    def list_(
        principal: Annotated[Principal, Depends(acting)],
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        after: Annotated[str | None, Query(description="next_after of the page before.")] = None,
    ) -> QueuePage:
        """List the open cases, in the order in which they are offered."""
        return list_cases(engine, principal=principal, limit=limit, after=after)

    @router.post("/next", response_model=CaseView, responses={204: {"description": "No case is free."}})
    def next_(principal: Annotated[Principal, Depends(acting)]) -> CaseView | Response:
        """Claim the case that is due, or the one that you hold already, and show it."""
        case = next_case(engine, principal=principal, settings=settings, systems=systems)
        return Response(status_code=204) if case is None else case

    @router.get("/{case_id}")
    def show_(case_id: str, principal: Annotated[Principal, Depends(acting)]) -> CaseView:
        """Show a case without claiming it; the look is noted in the audit log."""
        return show(engine, case_id, principal=principal, systems=systems)

    @router.post("/{case_id}/claim")
    def claim_(case_id: str, principal: Annotated[Principal, Depends(acting)]) -> CaseView:
        """Claim a case, or prolong your claim, and show it."""
        return claim(engine, case_id, principal=principal, settings=settings, systems=systems)

    @router.delete("/{case_id}/claim", status_code=204)
    def release_(case_id: str, principal: Annotated[Principal, Depends(acting)]) -> None:
        """Give a claimed case back to the queue."""
        release(engine, case_id, principal=principal)

    return router


def _verdicts(engine: Engine, *, acting: Callable[[Request], Principal], systems: CodeSystems) -> APIRouter:
    router = APIRouter()

    @router.post("/cases/{case_id}/adjudication")
    def adjudicate_(
        case_id: str, asked: AdjudicationRequest, principal: Annotated[Principal, Depends(acting)]
    ) -> Adjudication:
        """Give the verdict on a case that you hold; the same one again is answered as the first time."""
        return adjudicate(engine, case_id, asked, principal=principal, systems=systems)

    @router.get("/adjudications/{adjudication_id}")
    def read(adjudication_id: str, principal: Annotated[Principal, Depends(acting)]) -> Adjudication:
        """Read a verdict back."""
        if principal.role not in _MAY_READ:
            raise ForbiddenError(f"role {principal.role} may not read verdicts; it takes {', '.join(_MAY_READ)}")
        return load_adjudication(engine, adjudication_id)

    return router
