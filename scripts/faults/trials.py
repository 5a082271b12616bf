"""Each fault as one trial: a server of its own, load all the while, the harm, and what became of it."""

import asyncio
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from governance.versions import resolve_version
from scripts.faults.clients import crowd, send_bad_bodies, send_slowly, vanish
from scripts.faults.processes import FAKETIME, harm_process, jump_clock
from scripts.faults.servers import Harmed, own_data_dir, serving
from scripts.faults.storage import fill_disk, postgres, small_disk, take_database_away
from scripts.faults.versions import promote, promote_damaged, register_copy, replace
from scripts.faults.watching import Outcome, Watch, known_answers, watching

__all__ = ["TRIALS", "NotPossibleHereError", "run_trial"]

_TEXTS: Final = (
    "Follow-up of essential hypertension. Blood pressure at goal. Continue lisinopril.",
    "Type 2 diabetes mellitus without complications. HbA1c 6.9. Continue metformin.",
    "Cough and fever for three days. Chest film clear. Acute bronchitis.",
    "Low back pain after lifting. No red flags. Heat, ibuprofen, and physical therapy. " * 12,
)
Harm = Callable[[Harmed, Watch], Awaitable[Any]]


class NotPossibleHereError(Exception):
    """This machine lacks what the trial takes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a trial happens."""

    data_dir: Path
    """With the version; to be copied, not changed."""
    version: str
    folder: Path
    """Of this trial alone."""


Trial = Callable[[Place], dict[str, Any]]


def _try(
    place: Place, harm: Harm, *, is_noticed: bool = False, environment: dict[str, str] | None = None, **changed: Any
) -> dict[str, Any]:
    """Harm a server that serves the version, under load."""
    with own_data_dir(place.data_dir, place.folder) as data_dir:
        with serving(
            data_dir, version=place.version, folder=place.folder, environment=environment, **changed
        ) as harmed:
            return _watch(harmed, harm, is_noticed=is_noticed)


def _watch(harmed: Harmed, harm: Harm, *, is_noticed: bool = False) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        url, headers = harmed.server.url, harmed.server.headers()
        known = await known_answers(url, headers, _TEXTS)
        async with watching(lambda: url, headers, known) as watch:
            told = await harm(harmed, watch)
        lost = await _lost(url, headers, watch)
        harmed_at = told if isinstance(told, float) else None
        outcome = Outcome.of(watch, lost=lost, harmed_at=harmed_at, is_noticed=is_noticed)
        return asdict(outcome) | (told if isinstance(told, dict) else {})

    return asyncio.run(main())


async def _lost(url: str, headers: dict[str, str], watch: Watch) -> int:
    """How many acknowledged decisions cannot be read back."""
    lost = 0
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60.0, trust_env=False) as http:
        for decision_id in watch.acknowledged:
            lost += (await http.get(f"/v1/decisions/{decision_id}")).status_code != httpx.codes.OK
    return lost


def _process(place: Place, *, part: str, signal_number: signal.Signals, **changed: Any) -> dict[str, Any]:
    harm = partial(harm_process, part=part, signal_number=signal_number)
    return _try(place, harm, is_noticed=part != "worker", **changed)


def _client(place: Place, *, harm: Callable[[Harmed], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    async def under_load(harmed: Harmed, _: Watch) -> dict[str, Any]:
        await asyncio.sleep(2)
        told = await harm(harmed)
        await asyncio.sleep(3)
        return told

    return _try(place, under_load)


def _clock(place: Place) -> dict[str, Any]:
    if not FAKETIME.is_file():
        raise NotPossibleHereError("libfaketime is missing; install Debian's faketime")
    offsets = place.folder / "offset"
    offsets.write_text("+0\n")
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offsets),
        "FAKETIME_NO_CACHE": "1",
        # The kernel's monotonic clock does not jump, whatever happens to the time of day.
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    return _try(place, lambda *_: jump_clock(offsets), environment=environment)


def _database(place: Place) -> dict[str, Any]:
    with postgres(place.folder) as database:
        environment = {"CHARTLOOP_DATABASE_URL": database.get_uri()}
        return _try(place, lambda *_: take_database_away(place.folder), environment=environment)


def _disk(place: Place) -> dict[str, Any]:
    try:
        with small_disk(place.folder) as disk, own_data_dir(place.data_dir, disk) as data_dir:
            with serving(data_dir, version=place.version, folder=place.folder) as harmed:
                return _watch(harmed, lambda *_: fill_disk(disk))
    except PermissionError as error:
        raise NotPossibleHereError(str(error)) from None


@contextmanager
def _followed(place: Place) -> Iterator[tuple[Harmed, Path, Path]]:
    """Serve the champion; gives the server, its data directory and the champion's bundle."""
    with own_data_dir(place.data_dir, place.folder) as data_dir:
        resolved = resolve_version(place.version, data_dir=data_dir)
        assert resolved.version.number is not None
        promote(data_dir, resolved.version.number)
        with serving(data_dir, version=None, folder=place.folder) as harmed:
            yield harmed, data_dir, resolved.folder


def _swap(place: Place) -> dict[str, Any]:
    with _followed(place) as (harmed, data_dir, bundle):
        number = register_copy(data_dir, bundle, place.folder, name="next")

        def served() -> int | None:
            answer = httpx.get(f"{harmed.server.url}/readyz", timeout=10.0, trust_env=False)
            found: int | None = answer.json()["version"]["number"]
            return found

        told = _watch(harmed, lambda *_: replace(data_dir, number, served=served))
        return told | {"served_after": served(), "promoted": number}


def _corrupt(place: Place) -> dict[str, Any]:
    with _followed(place) as (harmed, data_dir, bundle):
        number = register_copy(data_dir, bundle, place.folder, name="damaged")
        told = _watch(harmed, lambda *_: promote_damaged(data_dir, number, place.folder / "damaged"))
        answer = httpx.get(f"{harmed.server.url}/readyz", timeout=10.0, trust_env=False)
        return told | {"served_after": answer.json()["version"]["number"], "promoted": number}


def _rolling_restart(place: Place) -> dict[str, Any]:
    """Two gateways on one database behind a balancer that asks who is ready; the first is ended under load."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres(place.folder))
        environment = {"CHARTLOOP_DATABASE_URL": database.get_uri()}
        servers = []
        for name in ("first", "second"):
            folder = place.folder / name
            folder.mkdir()
            data_dir = stack.enter_context(own_data_dir(place.data_dir, folder))
            servers.append(
                stack.enter_context(serving(data_dir, version=place.version, folder=folder, environment=environment))
            )
        return asyncio.run(_roll(*servers))


async def _roll(first: Harmed, second: Harmed) -> dict[str, Any]:
    ready = {first.server.url: True, second.server.url: True}
    headers, known = first.server.headers(), {}
    known = await known_answers(first.server.url, headers, _TEXTS)

    async def balance() -> None:
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            while True:
                for url in ready:
                    try:
                        ready[url] = (await http.get(f"{url}/readyz")).status_code == httpx.codes.OK
                    except httpx.TransportError:
                        ready[url] = False
                await asyncio.sleep(0.1)

    def urls() -> str:
        return next((url for url, is_ready in ready.items() if is_ready), second.server.url)

    balancing = asyncio.create_task(balance())
    async with watching(urls, headers, known) as watch:
        await asyncio.sleep(4)
        first.server.tree.root.send_signal(signal.SIGTERM)
        await asyncio.sleep(15)
    balancing.cancel()
    lost = await _lost(second.server.url, headers, watch)
    return asdict(Outcome.of(watch, lost=lost, harmed_at=None, is_noticed=False))


TRIALS: Final[dict[str, Trial]] = {
    **{
        f"{number.name} {part}": partial(_process, part=part, signal_number=number)
        for number in (signal.SIGKILL, signal.SIGSTOP)
        for part in ("stub", "server", "worker")
    },
    "SIGKILL server, no fallback": partial(
        _process, part="server", signal_number=signal.SIGKILL, fallback={"mode": "off"}
    ),
    "SIGSTOP stub, no fallback": partial(_process, part="stub", signal_number=signal.SIGSTOP, fallback={"mode": "off"}),
    "far too many at once": partial(_client, harm=crowd),
    "slow and half-open connections": partial(_client, harm=send_slowly),
    "clients that vanish": partial(_client, harm=vanish),
    "bodies that nobody can read": partial(_client, harm=send_bad_bodies),
    "clock jumps an hour": _clock,
    "database gone for 30 s": _database,
    "disk full": _disk,
    "version swapped": _swap,
    "damaged version promoted": _corrupt,
    "rolling restart": _rolling_restart,
}


def run_trial(name: str, *, data_dir: Path, version: str) -> dict[str, Any]:
    """Run one trial in a folder of its own.

    Raises:
        NotPossibleHereError: This machine lacks what it takes.
    """
    with tempfile.TemporaryDirectory(prefix="chartloop-faults-") as folder:
        return TRIALS[name](Place(data_dir, version, Path(folder)))
