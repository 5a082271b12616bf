"""Remembers in the database which tokens were used, for all gateways that share it."""

from datetime import UTC, datetime
from functools import partial

from anyio.to_thread import run_sync
from sqlalchemy import Engine

from ledger.federation import note_token_use

__all__ = ["LedgerTokenUses"]


class LedgerTokenUses:
    """A ``TokenUses`` that every process of this database sees."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def note(self, issuer: str, token_id: str, *, expires_at: float) -> bool:
        """Note a use; see ``serving.gateway.tokens.TokenUses``."""
        until = datetime.fromtimestamp(expires_at, UTC)
        note = partial(note_token_use, self._engine, issuer=issuer, token_id=token_id, expires_at=until)
        return await run_sync(note)
