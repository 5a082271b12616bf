"""Promotions: who serves, by whose word and why (stage 11).

The champion is whom the last row of the ledger names. The row and its audit entry are written
first, in one transaction; MLflow's alias ``champion`` follows as their projection, and where a crash
came between, ``reconcile`` mends it. It knows no comparison: whether a version deserves it is
the reviewer's judgement, stated as the reason.

A rollback undoes the last promotion, once: it returns to whoever was champion before it. A second
rollback in a row is refused, so that two people who answer one alarm do not go back twice; to go
further back, promote that version by number.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, select

from clinical_coding.data_directory import DataDirectory
from clinical_coding.registered_version import MODEL_NAME, VersionAlias
from clinical_coding.suggestions import VersionName
from feedback.errors import ConflictError, ForbiddenError, InvalidError
from governance.history import Promotion, PromotionKind, current_champion, last_promotion, list_promotions
from governance.registry import aliases_of, open_registry
from governance.tables import promotions
from governance.versions import ResolvedVersion, resolve_version
from ledger.audit_log import append
from ledger.group_commit import write
from ledger.principals import Principal, Role

__all__ = [
    "Promotion",
    "PromotionKind",
    "current_champion",
    "list_promotions",
    "promote",
    "reconcile",
    "resolve_champion",
    "rollback",
]

logger = logging.getLogger(__name__)

MAX_REASON_CHARACTERS: Final = 2_000
_MAY_PROMOTE: Final = (Role.REVIEWER, Role.ADMIN)


def promote(engine: Engine, reference: str, *, reason: str, principal: Principal, data_dir: Path) -> Promotion:
    """Make a version the champion.

    Args:
        engine: A migrated database.
        reference: ``candidate``, ``challenger`` or a number.
        reason: Why, for whoever reads the history; never clinical text.
        principal: Who acts: a reviewer or an administrator.
        data_dir: The data directory.

    Returns:
        The new row; the alias is moved too.

    Raises:
        ForbiddenError: The principal has another role.
        InvalidError: The reason is empty or too long, or the reference is a bundle's path.
        ConflictError: The version is champion already.
        ValueError: The version is unknown, or its bundle is not the one that was registered; or the
            alias could not follow, and the promotion stands all the same.
    """
    _require(principal, reason=reason)
    version = resolve_version(reference, data_dir=data_dir).version
    if version.number is None:
        raise InvalidError(f"version {reference!r} is a bundle's folder; promote a registered version by its number")

    def work(connection: Connection) -> Promotion:
        champion = last_promotion(connection)
        if champion is not None and champion.version_number == version.number:
            raise ConflictError(
                f"version {version.number} is champion already, since {champion.at:%Y-%m-%d %H:%M} UTC; "
                "promote another, or leave it"
            )
        return _record(connection, PromotionKind.PROMOTE, version, before=champion, reason=reason, principal=principal)

    return _carry_out(engine, work, data_dir=data_dir)


def rollback(engine: Engine, *, reason: str, principal: Principal, data_dir: Path) -> Promotion:
    """Return to the version that was champion before the last promotion.

    Args:
        engine: A migrated database.
        reason: Why.
        principal: Who acts: a reviewer or an administrator.
        data_dir: The data directory.

    Returns:
        The new row; the alias is moved too.

    Raises:
        ForbiddenError: The principal has another role.
        InvalidError: The reason is empty or too long, or the registry names another bundle than before.
        ConflictError: There is nothing to return to: no promotion yet, none before the last, or it was
            rolled back already; or somebody else moved the champion just now.
        ValueError: The version's bundle is gone or changed; or as :func:`promote`.
    """
    _require(principal, reason=reason)
    with engine.connect() as connection:
        champion = last_promotion(connection)
    target = _before(champion)
    version = resolve_version(str(target), data_dir=data_dir).version

    def work(connection: Connection) -> Promotion:
        if (now := last_promotion(connection)) != champion:
            assert now is not None
            raise ConflictError(
                f"version {now.version_number} became champion just now, by {now.principal}; "
                "look at `chartloop versions history`, then decide again"
            )
        return _record(connection, PromotionKind.ROLLBACK, version, before=now, reason=reason, principal=principal)

    return _carry_out(engine, work, data_dir=data_dir)


def reconcile(engine: Engine, *, data_dir: Path) -> Promotion | None:
    """Let MLflow's alias say what the ledger says, whatever came between.

    An empty ledger says nothing, and the alias is left as it is.

    Args:
        engine: A migrated database.
        data_dir: The data directory.

    Returns:
        The champion, or None when nobody was promoted yet.

    Raises:
        ValueError: The version that the ledger names is not registered, or MLflow does not answer.
    """
    champion = current_champion(engine)
    if champion is None:
        return None
    directory = DataDirectory.locate(data_dir)
    with directory.lock("registry"):
        # The lock binds this machine alone, so another one may have promoted while the alias was moved.
        while True:
            _point_alias_at(champion, directory=directory)
            newest = current_champion(engine)
            assert newest is not None, "promotions are never removed"
            if newest == champion:
                return champion
            champion = newest


def _require(principal: Principal, *, reason: str) -> None:
    if principal.role not in _MAY_PROMOTE:
        raise ForbiddenError(
            f"principal {principal.name!r} is a {principal.role}; promoting and rolling back need a "
            f"{' or '.join(_MAY_PROMOTE)}: give the key of one with --key"
        )
    if not reason.strip() or len(reason) > MAX_REASON_CHARACTERS:
        raise InvalidError(
            f"reason has {len(reason.strip()):,} characters; expected 1 to {MAX_REASON_CHARACTERS:,} "
            "that tell whoever reads the history why"
        )


def _before(champion: Promotion | None) -> int:
    """The version that a rollback returns to."""
    if champion is None:
        raise ConflictError("no version was promoted yet, so there is nothing to roll back")
    if champion.kind is PromotionKind.ROLLBACK:
        raise ConflictError(
            f"the last promotion was rolled back already, to version {champion.version_number} by "
            f"{champion.principal}; to go further back, promote that version by its number"
        )
    if champion.previous_number is None:
        raise ConflictError(
            f"version {champion.version_number} is the first champion, so there is none before it; promote another"
        )
    return champion.previous_number


def _record(
    connection: Connection,
    kind: PromotionKind,
    version: VersionName,
    *,
    before: Promotion | None,
    reason: str,
    principal: Principal,
) -> Promotion:
    assert version.number is not None
    _require_same_bundle(connection, version)
    row: dict[str, Any] = {
        "seq": before.seq + 1 if before else 1,
        "kind": kind,
        "version_number": version.number,
        "bundle_sha256": version.bundle_sha256,
        "previous_number": before.version_number if before else None,
        "reason": reason.strip(),
        "principal_id": principal.id,
        "at": datetime.now(UTC),
    }
    connection.execute(insert(promotions).values(row))
    append(
        connection,
        principal=principal,
        action="version-promoted" if kind is PromotionKind.PROMOTE else "version-rolled-back",
        subject=f"version:{version.number}",
        details={name: row[name] for name in ("seq", "version_number", "bundle_sha256", "previous_number", "reason")},
    )
    return Promotion(**row, principal=principal.name)


def _require_same_bundle(connection: Connection, version: VersionName) -> None:
    """Refuse a version that the registry names with another bundle than when it was champion before."""
    of_version = select(promotions.c.bundle_sha256).where(promotions.c.version_number == version.number)
    known = connection.execute(of_version.limit(1)).scalar_one_or_none()
    if known is not None and known != version.bundle_sha256:
        raise InvalidError(
            f"version {version.number} has bundle {version.bundle_sha256}, but was champion with {known}; "
            "restore the registry from a backup, or train again"
        )


def _carry_out(engine: Engine, work: Callable[[Connection], Promotion], *, data_dir: Path) -> Promotion:
    promotion = write(engine, work)
    try:
        reconcile(engine, data_dir=data_dir)
    except ValueError as error:
        raise ValueError(
            f"version {promotion.version_number} is champion in the ledger (promotion {promotion.seq}), but MLflow's "
            f"alias did not follow: {error}; it will at the next `chartloop serve` or `chartloop versions list`"
        ) from error
    return promotion


def resolve_champion(champion: Promotion, *, data_dir: Path) -> ResolvedVersion:
    """Find the bundle that was promoted.

    Args:
        champion: The promotion in force.
        data_dir: Where versions are registered.

    Raises:
        ValueError: The version is not registered, its bundle is damaged, or it is another than was promoted.
    """
    resolved = resolve_version(str(champion.version_number), data_dir=data_dir)
    if resolved.version.bundle_sha256 != champion.bundle_sha256:
        raise ValueError(
            f"version {champion.version_number} was promoted with bundle {champion.bundle_sha256[:12]}, and is now "
            f"registered with {resolved.version.bundle_sha256[:12]}; restore the registry, or promote another"
        )
    name = resolved.version.model_copy(update={"alias": VersionAlias.CHAMPION.value})
    return replace(resolved, version=name)


def _point_alias_at(champion: Promotion, *, directory: DataDirectory) -> None:
    from mlflow.exceptions import MlflowException

    client = open_registry(directory)
    found = aliases_of(client).get(VersionAlias.CHAMPION)
    if found == champion.version_number:
        return
    try:
        client.set_registered_model_alias(MODEL_NAME, VersionAlias.CHAMPION.value, str(champion.version_number))
    except MlflowException as error:
        raise ValueError(
            f"version {champion.version_number}, champion by promotion {champion.seq}, cannot bear the alias in MLflow "
            f"({error.error_code}); restore the version there, or promote another"
        ) from None
    logger.info("alias champion moved from version %s to version %d", found, champion.version_number)
