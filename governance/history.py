"""The history of champions, as the ledger tells it: who, when, why (stage 11).

The champion is whom the last row names. Reads only; rows are added by ``promotion``.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, select

from governance.tables import promotions
from ledger.principals import principals

__all__ = ["Promotion", "PromotionKind", "current_champion", "last_promotion", "list_promotions"]


class PromotionKind(StrEnum):
    """How a version became champion."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Promotion:
    """One row of the history."""

    seq: int
    kind: PromotionKind
    version_number: int
    """The champion from then on."""
    bundle_sha256: str
    previous_number: int | None
    """The champion until then; null for the first."""
    reason: str
    principal_id: str
    principal: str
    """The name of who did it."""
    at: datetime
    """UTC."""


def current_champion(engine: Engine) -> Promotion | None:
    """Say who is champion, by the ledger: one look-up by primary key."""
    with engine.connect() as connection:
        return last_promotion(connection)


def list_promotions(engine: Engine) -> list[Promotion]:
    """The whole history, newest first."""
    with engine.connect() as connection:
        return [_promotion(row) for row in connection.execute(_newest_first())]


def _newest_first() -> Select[Any]:
    joined = promotions.join(principals, promotions.c.principal_id == principals.c.id)
    return (
        select(promotions, principals.c.name.label("principal")).select_from(joined).order_by(promotions.c.seq.desc())
    )


def last_promotion(connection: Connection) -> Promotion | None:
    """The last row, as a transaction sees it."""
    row = connection.execute(_newest_first().limit(1)).one_or_none()
    return None if row is None else _promotion(row)


def _promotion(row: Row[Any]) -> Promotion:
    return Promotion(**(dict(row._mapping) | {"kind": PromotionKind(row.kind)}))
