"""The watch of a Triton that others run, with a scripted Triton: what it is told, and what is left after failures."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from clinical_coding.bundle import read_bundle
from serving.backends import BackendUnavailableError
from serving.gateway.settings import GatewaySettings
from serving.settings import ServingSettings
from serving.watch import TritonWatch

SETTINGS = ServingSettings(gateway=GatewaySettings(follow_seconds=0.01, max_note_characters=500))


class ScriptedControl:
    """Loads what it is told, but for the versions that are broken."""

    def __init__(self) -> None:
        self.told: list[tuple[int, ...]] = []
        self.broken: set[int] = set()

    @property
    def loaded(self) -> tuple[int, ...]:
        return self.told[-1]

    async def serve(self, config: Any, *, timeout_seconds: float) -> None:
        if self.broken & set(config.versions):
            raise BackendUnavailableError("Triton did not load it")
        self.told.append(config.versions)


@pytest.fixture
def control() -> ScriptedControl:
    return ScriptedControl()


@pytest.fixture
def champion() -> dict[str, Any]:
    """Who is champion, to be changed by a test."""
    return {}


@pytest.fixture
def watching(
    control: ScriptedControl,
    champion: dict[str, Any],
    make_bundle: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> TritonWatch:
    bundles: dict[int, Path] = {}

    def promoted(_: Engine) -> Any:
        number = champion.get("number")
        if number is None:
            return None
        if number not in bundles:
            bundles[number] = make_bundle(f"v{number}")
        digest = read_bundle(bundles[number])[1]
        return SimpleNamespace(version_number=number, bundle_sha256=digest)

    class Backend:
        def __init__(self, *_: Any, version: int, **__: Any) -> None:
            self.version = version

        async def score(self, notes: Any, *, timeout_seconds: float) -> None:
            await self.check(timeout_seconds=timeout_seconds)
            if champion.get("fails_long") and len(notes[0].text) > 5_000:
                raise BackendUnavailableError("failed at a long note")

        async def check(self, *, timeout_seconds: float) -> None:
            if self.version not in control.loaded:
                raise BackendUnavailableError("not loaded")

        async def close(self) -> None:
            pass

    monkeypatch.setattr("serving.watch.current_champion", promoted)
    monkeypatch.setattr(
        "serving.watch.resolve_champion",
        lambda one, *, data_dir: SimpleNamespace(folder=bundles[one.version_number]),
    )
    monkeypatch.setattr("serving.watch.check_reach", lambda *_, **__: None)
    monkeypatch.setattr("serving.watch.read_labels", lambda _: ())
    monkeypatch.setattr("serving.watch.TritonBackend", Backend)
    engine: Any = None
    loader: Any = control
    return TritonWatch(
        engine,
        data_dir=tmp_path,
        repository=tmp_path / "models",
        control=loader,
        url="127.0.0.1:1",
        settings=SETTINGS,
    )


def look(watching: TritonWatch) -> None:
    asyncio.run(watching.look())


def test_each_champion_is_published_loaded_beside_the_last_and_older_ones_are_dropped(
    watching: TritonWatch, control: ScriptedControl, champion: dict[str, Any], tmp_path: Path
) -> None:
    look(watching)
    assert control.told == []
    for number in (1, 2, 3):
        champion["number"] = number
        look(watching)
        assert (tmp_path / "models" / "clinical-coder" / str(number) / "bundle" / "bundle.json").is_file()
    assert control.told == [(1,), (1, 2), (1, 2, 3), (2, 3)]
    assert watching.numbers == (2, 3)
    # A rollback loads nothing anew.
    champion["number"] = 2
    look(watching)
    assert (control.loaded, watching.numbers) == ((3, 2), (3, 2))


@pytest.mark.parametrize("how", ["does-not-load", "fails-at-a-long-note"])
def test_a_champion_that_does_not_come_to_answer_leaves_what_was_loaded(
    watching: TritonWatch, control: ScriptedControl, champion: dict[str, Any], how: str
) -> None:
    champion["number"] = 1
    look(watching)
    champion["number"] = 2
    if how == "does-not-load":
        control.broken = {2}
    else:
        champion["fails_long"] = True
    with pytest.raises(BackendUnavailableError):
        look(watching)
    assert (control.loaded, watching.numbers) == ((1,), (1,))
    control.broken, champion["fails_long"] = set(), False
    look(watching)
    assert watching.numbers == (1, 2)


def test_a_triton_that_was_started_anew_gets_its_versions_back(
    watching: TritonWatch, control: ScriptedControl, champion: dict[str, Any]
) -> None:
    for number in (1, 2):
        champion["number"] = number
        look(watching)
    control.told.append(())
    look(watching)
    assert control.loaded == (1, 2)
    num_told = len(control.told)
    look(watching)
    assert len(control.told) == num_told


def test_what_fails_is_tried_again_later_each_time(
    watching: TritonWatch, control: ScriptedControl, champion: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.watch._FIRST_RETRY_SECONDS", 0.05)
    watching._retry_seconds = 0.05
    control.broken, champion["number"] = {1}, 1

    async def scenario() -> None:
        running = asyncio.create_task(watching.run())
        await asyncio.sleep(0.2)
        control.broken = set()
        async with asyncio.timeout(5):
            while watching.numbers != (1,):
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(scenario())
    assert control.told == [(1,)]
