"""``chartloop serve watch``: keeps a Triton that somebody else runs at the champion (stages 6, 11).

Published into the model repository that the two share, loaded beside the version that answers, asked for canaries;
then gateways find the version under its number and switch to it by themselves. The one before stays loaded, for
requests in flight and for the way back; older ones are dropped. Whatever fails on the way leaves what was loaded as
it was, and is tried again, later each time. A Triton that was started anew gets its versions back.
"""

import asyncio
import signal
import time
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from clinical_coding.bundle import read_labels
from clinical_coding.records import Note
from governance.promotion import Promotion, current_champion, resolve_champion
from serving.backends import BackendError, BackendUnavailableError
from serving.following import check_reach
from serving.settings import ServingSettings
from serving.triton.client import TritonBackend
from serving.triton.config import TritonTls
from serving.triton.control import TritonControl
from serving.triton.repository import render_version, write_config

__all__ = ["TritonWatch", "watch"]

# Of every length that a window, a few and many hold; a version that fails at one of them is not switched to.
_CANARIES: Final = tuple(
    (Note(note_id="canary", text="Patient seen for follow-up of hypertension and type 2 diabetes. " * times),)
    for times in (1, 20, 200)
)
_CANARY_SECONDS: Final = 60.0
_FIRST_RETRY_SECONDS: Final = 5.0
_MAX_RETRY_SECONDS: Final = 300.0
_log = structlog.get_logger(__name__)


class TritonWatch:
    """One Triton, one repository, one ledger that says who is champion."""

    def __init__(
        self,
        engine: Engine,
        *,
        data_dir: Path,
        repository: Path,
        control: TritonControl,
        url: str,
        settings: ServingSettings,
        tls: TritonTls | None = None,
    ) -> None:
        """Describe them.

        Args:
            engine: A migrated database.
            data_dir: Where versions are registered.
            repository: The model repository, which Triton reads too.
            control: Who tells Triton what to load.
            url: ``host:port`` of Triton's gRPC endpoint.
            settings: How Triton runs the model, and how often to look.
            tls: Of the channel to Triton; none when None.
        """
        self._engine = engine
        self._data_dir = data_dir
        self._repository = repository
        self._control = control
        self._url = url
        self._settings = settings
        self._tls = tls
        self._config = settings.triton.model_configuration()
        self._backend: TritonBackend | None = None
        self._retry_at = 0.0
        self._retry_seconds = _FIRST_RETRY_SECONDS
        self.numbers: tuple[int, ...] = ()
        """What Triton serves: the champion last, and before it the one that it followed."""

    async def run(self) -> None:
        """Look until cancelled, whatever happens."""
        while True:
            try:
                await self.look()
            except SQLAlchemyError as error:
                _log.warning("champion-unknown", error=type(error).__name__)
            except (BackendError, ValueError, OSError) as error:
                self._retry_at = time.monotonic() + self._retry_seconds
                _log.error("version-not-loaded", reason=str(error), next_try_seconds=self._retry_seconds)
                self._retry_seconds = min(2 * self._retry_seconds, _MAX_RETRY_SECONDS)
            except Exception as error:
                _log.error("watch-failed", error=type(error).__name__)
            await asyncio.sleep(self._settings.gateway.follow_seconds)

    async def look(self) -> None:
        """See to it that Triton serves the champion.

        Raises:
            BackendError: It does not load, or does not answer; what was loaded before is as it was.
            ValueError: The champion's bundle is damaged, or reads too little.
        """
        if time.monotonic() < self._retry_at:
            return
        champion = await asyncio.to_thread(current_champion, self._engine)
        if champion is None:
            return
        if self._backend is not None and self.numbers[-1] == champion.version_number and await self._is_well():
            return
        await self._load(champion)
        self._retry_at, self._retry_seconds = 0.0, _FIRST_RETRY_SECONDS

    async def close(self) -> None:
        """Close the channel; Triton serves on."""
        if self._backend is not None:
            await self._backend.close()

    async def _is_well(self) -> bool:
        assert self._backend is not None
        try:
            await self._backend.check(timeout_seconds=self._settings.gateway.canary_timeout_seconds)
        except BackendUnavailableError:
            return False
        except BackendError:
            return True  # Busy is well.
        return True

    async def _load(self, champion: Promotion) -> None:
        number = champion.version_number
        resolved = await asyncio.to_thread(resolve_champion, champion, data_dir=self._data_dir)
        await asyncio.to_thread(check_reach, resolved.folder, settings=self._settings)
        _log.info("version-loading", number=number, bundle=champion.bundle_sha256[:12])
        await asyncio.to_thread(render_version, self._repository, bundle=resolved.folder, number=number)
        if not self.numbers:
            # Only before anything is served: a changed file makes Triton load every version anew.
            await asyncio.to_thread(write_config, self._repository, self._config.serving(number))
        backend = TritonBackend(
            self._url,
            version=number,
            labels=await asyncio.to_thread(read_labels, resolved.folder),
            bundle_sha256=champion.bundle_sha256,
            tls=self._tls,
        )
        before = tuple(one for one in self.numbers if one != number)
        try:
            await self._serve(*before, number)
            for notes in _CANARIES:
                await backend.score(notes, timeout_seconds=_CANARY_SECONDS)
        except BaseException:
            await backend.close()
            if self.numbers:
                await self._serve(*self.numbers)
            raise
        await self.close()
        self._backend, self.numbers = backend, (*before[-1:], number)
        if len(before) > 1:
            await self._serve(*self.numbers)
        _log.info("version-serves", numbers=list(self.numbers))

    async def _serve(self, *numbers: int) -> None:
        await self._control.serve(
            self._config.serving(*numbers), timeout_seconds=self._settings.triton.start_timeout_seconds
        )


def watch(
    engine: Engine,
    *,
    data_dir: Path,
    repository: Path,
    url: str,
    settings: ServingSettings,
    control_key: str | None = None,
    tls: TritonTls | None = None,
) -> None:
    """Watch until SIGTERM or SIGINT.

    Args:
        engine: A migrated database.
        data_dir: Where versions are registered.
        repository: The model repository, which Triton reads too.
        url: ``host:port`` of Triton's gRPC endpoint.
        settings: How Triton runs the model, and how often to look.
        control_key: What Triton wants to hear before it loads (``--grpc-restricted-protocol``); None for nothing.
        tls: Of the channel to Triton.
    """

    async def main() -> None:
        control = TritonControl(url, key=control_key, tls=tls)
        watching = TritonWatch(
            engine, data_dir=data_dir, repository=repository, control=control, url=url, settings=settings, tls=tls
        )
        task = asyncio.create_task(watching.run(), name="triton-watch")
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait({task})
        await watching.close()

    asyncio.run(main())
