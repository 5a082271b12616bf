"""Retention: what is older than a day is emptied of clinical text; that it was there stays provable.

Deletes the contents of suggestions, request and answer; their rows, hashes, decisions and audit
entries stay. What a supervisor still has to look at is kept whatever its age. A job that is not done by
then is cancelled, and with that the text of its items is gone too.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, Engine, Select, column, delete, exists, func, select, table

from ledger.audit_log import append
from ledger.group_commit import write
from ledger.jobs import cancel_job, stale_jobs
from ledger.principals import Principal, Role
from ledger.suggestions import suggestion_contents, suggestions

__all__ = ["Purge", "purge"]

# Of one transaction: other writers wait for it.
PAGE_ROWS: Final = 500
# The queue is of another package; its columns are of the one history of the database.
_cases: Final = table("cases", column("suggestion_id"), column("state"))
# So are the words that people wrote beside cards in their EHR.
_comments: Final = table("cds_comments", column("suggestion_id"))


@dataclass(frozen=True, slots=True)
class Purge:
    """What was done."""

    num_purged: int
    num_kept: int
    """Old enough, but of an open case."""


def purge(engine: Engine, *, before: datetime, principal: Principal) -> Purge:
    """Delete the content of old suggestions. Repeating it is harmless; so is stopping it halfway.

    On SQLite the deleted text is overwritten in the file. On PostgreSQL it lies in dead rows until
    the server's vacuum, and in either database's backups until those expire.

    Args:
        engine: A migrated database.
        before: Suggestions stored earlier lose their content; in the past.
        principal: Who asks; an admin.

    Raises:
        ValueError: The principal is no admin, or the moment is in the future. Or SQLite's write-ahead log still
            holds what was purged, since somebody reads; purging again clears it.
    """
    if principal.role is not Role.ADMIN:
        raise ValueError(f"role {principal.role.value!r} may not purge; use the key of an admin")
    if before > datetime.now(UTC):
        raise ValueError(f"before {before:%Y-%m-%d %H:%M} UTC lies in the future; give a moment in the past")
    while write(engine, lambda connection: _cancel_jobs(connection, before=before, principal=principal)):
        pass
    num_purged = 0
    while num_deleted := write(engine, lambda connection: _purge_page(connection, before=before, principal=principal)):
        num_purged += num_deleted
    with engine.connect() as connection:
        num_kept = connection.execute(select(func.count()).select_from(_stored_before(before).subquery())).scalar_one()
    if engine.dialect.name == "sqlite":
        _empty_write_ahead_log(engine)
    return Purge(num_purged, num_kept)


def _stored_before(moment: datetime) -> Select[tuple[str]]:
    return (
        select(suggestion_contents.c.suggestion_id)
        .join(suggestions, suggestions.c.id == suggestion_contents.c.suggestion_id)
        .where(suggestions.c.stored_at < moment)
    )


def _purge_page(connection: Connection, *, before: datetime, principal: Principal) -> int:
    is_open = exists().where(_cases.c.suggestion_id == suggestions.c.id, _cases.c.state == "open")
    old = connection.scalars(_stored_before(before).where(~is_open).limit(PAGE_ROWS)).all()
    if old:
        connection.execute(delete(suggestion_contents).where(suggestion_contents.c.suggestion_id.in_(old)))
        connection.execute(delete(_comments).where(_comments.c.suggestion_id.in_(old)))
        append(
            connection,
            principal=principal,
            action="contents-purged",
            subject="suggestions",
            details={"before": before.astimezone(UTC).isoformat(), "num_purged": len(old)},
        )
    return len(old)


def _cancel_jobs(connection: Connection, *, before: datetime, principal: Principal) -> int:
    stale = stale_jobs(connection, before=before, limit=1)
    for job_id in stale:
        cancel_job(connection, job_id, principal=principal)
    return len(stale)


def _empty_write_ahead_log(engine: Engine) -> None:
    # It holds the pages as they were before.
    connection = engine.raw_connection()
    try:
        is_busy, _, _ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    if is_busy:
        raise ValueError(
            "the contents are purged, but stay legible in the write-ahead log while somebody reads the database; "
            "let exports and verifications end, then purge again"
        )
