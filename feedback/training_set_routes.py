"""Tracing over HTTP (stage 10): from any id of the way back to who decided what.

Which versions a verdict trained is told on the command line alone (``chartloop feedback trace``): it is
read from the registry of versions, which feedback does not know. Training sets are exported there too,
into a folder. What goes wrong is raised as ``FeedbackError`` and answered by whoever mounts the router.
"""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from sqlalchemy import Engine

from feedback.trace import trace
from feedback.traced import Trace
from ledger.principals import Principal

__all__ = ["training_set_router"]


def training_set_router(engine: Engine, *, acting: Callable[[Request], Principal]) -> APIRouter:
    """Make the endpoints.

    Args:
        engine: A migrated database.
        acting: A FastAPI dependency that tells who acts.
    """
    router = APIRouter(prefix="/v1", tags=["training set"])

    @router.get("/trace/{identifier}")
    def trace_(identifier: str, principal: Annotated[Principal, Depends(acting)]) -> Trace:
        """Show suggestion, decisions, overrides, audit draw and verdicts of whatever the id names."""
        return trace(engine, identifier, principal=principal)

    return router
