"""``serve`` follows the champion: a promotion or a rollback is served within seconds, hot (stages 6, 7, 11).

The new version is opened beside the one that answers; the change itself is one assignment; then the
requests that the old one has are finished, and it is closed. Whatever fails on the way leaves the old
version answering. Who is champion is the ledger's to say; this module does not know why.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from rich.console import Console
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from clinical_coding.bundle import read_bundle, read_labels, read_reference
from clinical_coding.registered_version import VersionAlias
from clinical_coding.suggestions import VersionName
from governance.promotion import Promotion, current_champion, resolve_champion
from governance.versions import ResolvedVersion
from serving.backends import BackendError
from serving.drift import Drift
from serving.gateway.active import ActiveVersion, ServedVersion
from serving.gateway.rules import AnswerRules
from serving.hosts import Host, OpenVersion
from serving.settings import ServingSettings

__all__ = ["Follower", "check_reach", "describe_version", "join_version"]

# A version that failed is tried again after so many looks, then after twice as many, and so on.
_LOOKS_UNTIL_RETRY: Final = 8
_MAX_RETRY_SECONDS: Final = 300.0
# Beyond the deadline of the last request that the old version took.
_DRAIN_MARGIN_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


def check_reach(bundle: Path, *, settings: ServingSettings) -> None:
    """Refuse a version that would leave the end of an accepted note unread.

    Raises:
        ValueError: It reads less than the gateway accepts, or the bundle is damaged.
    """
    windowing = read_bundle(bundle)[0].windowing
    # A token is at least one character, and two tokens of each window are the encoder's own.
    reach = windowing.max_windows * (windowing.max_window_tokens - 2)
    accepted = settings.gateway.max_note_characters
    if reach < accepted:
        raise ValueError(
            f"windowing.max_windows {windowing.max_windows} of the version is sure to read {reach:,} characters, and "
            f"gateway.max_note_characters accepts {accepted:,}; lower gateway.max_note_characters to at most {reach}, "
            "or train with a larger windowing.max_windows"
        )


def join_version(opened: OpenVersion, *, settings: ServingSettings, rules: AnswerRules) -> ServedVersion:
    """Put together what answers in a version's name; reads its labels and what it was trained on."""
    return ServedVersion.join(
        opened.resolved.version,
        labels=read_labels(opened.resolved.folder),
        primary=opened.primary,
        fallback=opened.fallback,
        settings=settings.gateway,
        rules=rules,
        drift=Drift(read_reference(opened.resolved.folder), settings=settings.observability.drift),
    )


def describe_version(version: VersionName) -> str:
    """Name a version for people: ``version 2, champion``."""
    known = f"version {version.number}" if version.number else f"bundle {version.bundle_sha256[:12]}"
    return f"{known}, {version.alias}" if version.alias else known


@dataclass(frozen=True, slots=True)
class _Failure:
    """A version that did not come to serve, and when it is tried again."""

    promotion: Promotion
    wait_seconds: float
    retry_at: float


class Follower:
    """Looks at who is champion, and serves it."""

    def __init__(
        self,
        active: ActiveVersion,
        *,
        opened: OpenVersion,
        host: Host,
        engine: Engine,
        data_dir: Path,
        settings: ServingSettings,
        rules: AnswerRules,
    ) -> None:
        """Begin with what is served.

        Args:
            active: What the gateway's requests get; changed here.
            opened: The version behind it.
            host: Who opens and closes versions.
            engine: A migrated database, which names the champion.
            data_dir: Where versions are registered.
            settings: Times and limits.
            rules: What codes are judged by.
        """
        self._active = active
        self._opened = opened
        self._host = host
        self._engine = engine
        self._data_dir = data_dir
        self._settings = settings
        self._rules = rules
        self._failure: _Failure | None = None

    async def run(self) -> None:
        """Follow until cancelled, whatever happens."""
        while True:
            await asyncio.sleep(self._settings.gateway.follow_seconds)
            try:
                await self._look()
            except SQLAlchemyError as error:
                _log.warning("champion-unknown", error=type(error).__name__)
            except Exception as error:
                _log.error("following-failed", error=type(error).__name__)

    async def _look(self) -> None:
        champion = await asyncio.to_thread(current_champion, self._engine)
        if champion is None:
            return
        served = self._active.current.name
        if (served.number, served.bundle_sha256) != (champion.version_number, champion.bundle_sha256):
            await self._follow(champion)
        elif served.alias != VersionAlias.CHAMPION:
            # Served as the candidate, and promoted meanwhile.
            name = served.model_copy(update={"alias": VersionAlias.CHAMPION.value})
            self._active.switch(self._active.current.renamed(name))
            _say(name)

    async def _follow(self, champion: Promotion) -> None:
        failure = self._failure
        if failure is not None and failure.promotion != champion:
            failure = None
        if failure is not None and time.monotonic() < failure.retry_at:
            return
        number = champion.version_number
        _log.info("version-opening", number=number, bundle=champion.bundle_sha256[:12])
        try:
            resolved = await asyncio.to_thread(self._resolve, champion)
            opened = await self._host.open(resolved)
            try:
                joined = await asyncio.to_thread(join_version, opened, settings=self._settings, rules=self._rules)
                latest = await asyncio.to_thread(current_champion, self._engine)
            except Exception:
                await self._host.close(opened)
                raise
        except Exception as error:
            self._failure = failure = self._postpone(champion, before=failure)
            # What others raise may quote anything.
            is_told = isinstance(error, BackendError | ValueError | OSError)
            reason = str(error) if is_told else type(error).__name__
            _log.error("version-not-served", number=number, reason=reason, next_try_seconds=failure.wait_seconds)
            return
        self._failure = None
        if latest is None or latest.version_number != number or latest.bundle_sha256 != champion.bundle_sha256:
            # Opening takes a while, in which somebody went back, or on.
            _log.info("version-overtaken", number=number)
            await self._host.close(opened)
            return
        await self._switch(opened, joined)

    def _resolve(self, champion: Promotion) -> ResolvedVersion:
        """Find the champion's bundle; blocks."""
        resolved = resolve_champion(champion, data_dir=self._data_dir)
        check_reach(resolved.folder, settings=self._settings)
        return resolved

    def _postpone(self, champion: Promotion, *, before: _Failure | None) -> _Failure:
        shortest_seconds = _LOOKS_UNTIL_RETRY * self._settings.gateway.follow_seconds
        wait_seconds = min(2 * before.wait_seconds if before else shortest_seconds, _MAX_RETRY_SECONDS)
        return _Failure(champion, wait_seconds, time.monotonic() + wait_seconds)

    async def _switch(self, opened: OpenVersion, joined: ServedVersion) -> None:
        before, self._opened = self._opened, opened
        served = self._active.switch(joined)
        _say(opened.resolved.version)
        longest_seconds = self._settings.gateway.deadline_seconds + _DRAIN_MARGIN_SECONDS
        if not await self._active.until_unused(served, timeout_seconds=longest_seconds):
            _log.warning("version-closed-in-use", number=served.name.number)
        await served.dispatcher.close()
        await self._host.close(before)
        _log.info("version-closed", number=served.name.number)


def _say(version: VersionName) -> None:
    line = f"serving: {describe_version(version)} (bundle {version.bundle_sha256[:12]})"
    Console().print(line, soft_wrap=True, markup=False, highlight=False)
