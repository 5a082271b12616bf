"""Governance over HTTP: who is champion, and how it came to be (stage 11).

Read only: promoting and rolling back are done on the command line. Whoever mounts the router says
who acts, and answers what is raised.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from sqlalchemy import Engine

from feedback.errors import ForbiddenError, NotFoundError
from governance.promotion import Promotion, current_champion, list_promotions
from ledger.principals import Principal, Role

__all__ = ["Champion", "governance_router"]

_MAY_READ: Final = (Role.REVIEWER, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Champion:
    """The version that serves, by the ledger."""

    version_number: int
    bundle_sha256: str
    promotion: Promotion
    """How it became champion."""


def governance_router(engine: Engine, *, acting: Callable[[Request], Principal]) -> APIRouter:
    """Make the endpoints.

    Args:
        engine: A migrated database.
        acting: A FastAPI dependency that tells who acts.
    """
    router = APIRouter(prefix="/v1", tags=["governance"])

    @router.get("/versions/champion")
    def champion(principal: Annotated[Principal, Depends(acting)]) -> Champion:
        """Say which version is champion, and by whose word."""
        _require(principal)
        promotion = current_champion(engine)
        if promotion is None:
            raise NotFoundError("no version was promoted yet; promote one with `chartloop versions promote`")
        return Champion(promotion.version_number, promotion.bundle_sha256, promotion)

    @router.get("/promotions")
    def history(principal: Annotated[Principal, Depends(acting)]) -> list[Promotion]:
        """List promotions and rollbacks, newest first: who, when, why."""
        _require(principal)
        return list_promotions(engine)

    return router


def _require(principal: Principal) -> None:
    if principal.role not in _MAY_READ:
        raise ForbiddenError(
            f"principal {principal.name!r} is a {principal.role}; promotions are shown to {' and '.join(_MAY_READ)}"
        )
