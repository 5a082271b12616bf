"""Who is served after promotions that succeed, fail, and are rolled back; with a real registry and ledger."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine, text

from clinical_coding.records import Note
from governance.promotion import promote, rollback
from governance.versions import ResolvedVersion, resolve_version
from ledger.engine import default_url, migrate, open_engine
from ledger.principals import Principal, authenticate, create_key
from scripts.answer_rules import load_rules
from serving.backends import BackendUnavailableError, Priority, ScoredCodes
from serving.following import Follower, join_version
from serving.gateway.active import ActiveVersion
from serving.gateway.settings import GatewaySettings
from serving.hosts import OpenVersion
from serving.settings import ServingSettings

# Small bundles read 504 characters.
RULES = load_rules(Path("none"))
SETTINGS = ServingSettings(gateway=GatewaySettings(follow_seconds=0.01, max_note_characters=500))


class Answering:
    async def score(
        self, notes: Sequence[Note], *, timeout_seconds: float, priority: Priority = Priority.INTERACTIVE
    ) -> ScoredCodes:
        return ScoredCodes(())


class ScriptedHost:
    """Opens at once, or fails; remembers."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.tried: list[int | None] = []
        self.closed: list[int | None] = []
        self.meanwhile: Callable[[], object] | None = None

    async def open(self, resolved: ResolvedVersion) -> OpenVersion:
        self.tried.append(resolved.version.number)
        if self.meanwhile is not None:
            await asyncio.to_thread(self.meanwhile)
            self.meanwhile = None
        if self.error is not None:
            raise self.error
        return OpenVersion(resolved, primary=Answering(), fallback=None)

    async def close(self, version: OpenVersion) -> None:
        self.closed.append(version.resolved.version.number)

    async def stop(self) -> None: ...

    def gauges(self) -> dict[str, Any]:
        return {}

    def describe(self, version: OpenVersion) -> str:
        return "scripted"


@pytest.fixture
def engine(data_dir: Path) -> Iterator[Engine]:
    engine = open_engine(default_url(data_dir))
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def act(engine: Engine, data_dir: Path) -> Callable[..., Any]:
    reviewer = authenticate(engine, create_key(engine, role="reviewer", name="rea"))
    assert isinstance(reviewer, Principal)

    def go(call: Callable[..., Any], *reference: str) -> Any:
        return call(engine, *reference, reason="better", principal=reviewer, data_dir=data_dir)

    return go


@pytest.fixture
def bundles(make_bundle: Callable[[str], Path], register_bundle: Callable[[Path], int]) -> list[Path]:
    """Of versions 1, 2 and 3."""
    made = [make_bundle(seed) for seed in ("one", "two", "three")]
    for bundle in made:
        (bundle / "labels.json").write_text("[]")
        _list_file(bundle, "labels.json")
        register_bundle(bundle)
    return made


def _list_file(bundle: Path, name: str) -> None:
    from clinical_coding.artefact import sha256_of_file
    from clinical_coding.bundle import Bundle

    index = Bundle.model_validate_json((bundle / "bundle.json").read_bytes())
    changed = index.model_copy(update={"files": {**index.files, name: sha256_of_file(bundle / name)}})
    (bundle / "bundle.json").write_text(changed.model_dump_json())


Scenario = Callable[[ActiveVersion, ScriptedHost], Awaitable[None]]
Follow = Callable[[Scenario], list[dict[str, Any]]]


@pytest.fixture
def follow(bundles: list[Path], engine: Engine, data_dir: Path) -> Follow:
    """Serve version 1, follow the champion while a scenario runs, and give what was logged."""

    def run(scenario: Scenario) -> list[dict[str, Any]]:
        async def all_() -> None:
            host = ScriptedHost()
            opened = OpenVersion(resolve_version("1", data_dir=data_dir), primary=Answering(), fallback=None)
            active = ActiveVersion(join_version(opened, settings=SETTINGS, rules=RULES))
            follower = Follower(
                active,
                opened=opened,
                host=host,
                engine=engine,
                data_dir=data_dir,
                settings=SETTINGS,
                rules=RULES,
            )
            following = asyncio.create_task(follower.run())
            async with asyncio.timeout(60):
                await scenario(active, host)
            following.cancel()
            await asyncio.wait({following})

        with structlog.testing.capture_logs() as logs:
            asyncio.run(all_())
        return [dict(line) for line in logs]

    return run


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.01)


def named(logs: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in logs if line["event"] == event]


def test_promoted_rolled_back_and_renamed(follow: Follow, act: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(active: ActiveVersion, host: ScriptedHost) -> None:
        for call, *reference, number in ((promote, "1", 1), (promote, "2", 2), (rollback, 1), (promote, "3", 3)):
            await asyncio.to_thread(act, call, *reference)
            await until(lambda number=number: _names(active) == (number, "champion"))  # type: ignore[misc]
        await until(lambda: host.closed == [1, 2, 1])
        # The first promotion named what was served already: nothing was loaded.
        assert host.tried == [2, 1, 3]

    logs = follow(scenario)
    assert not named(logs, "version-not-served") and not named(logs, "following-failed")
    said = [line.partition(" (bundle ")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == [f"serving: version {number}, champion" for number in (1, 2, 1, 3)]


def _names(active: ActiveVersion) -> tuple[int | None, str | None]:
    return active.current.name.number, active.current.name.alias


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BackendUnavailableError("it does not load"), "it does not load"),
        (RuntimeError("Zebedee-Quartermain"), "RuntimeError"),
    ],
)
def test_a_version_that_fails_is_tried_again_ever_more_rarely(
    follow: Follow, act: Any, error: Exception, reason: str
) -> None:
    async def scenario(active: ActiveVersion, host: ScriptedHost) -> None:
        host.error = error
        await asyncio.to_thread(act, promote, "2")
        await until(lambda: len(host.tried) == 3)
        assert active.current.name.number == 1
        host.error = None
        await until(lambda: active.current.name.number == 2)

    failures = named(follow(scenario), "version-not-served")
    assert [(line["number"], line["reason"]) for line in failures] == [(2, reason)] * 3
    assert [line["next_try_seconds"] for line in failures] == pytest.approx([0.08, 0.16, 0.32])


def test_another_promotion_does_not_wait_for_the_one_that_failed(follow: Follow, act: Any) -> None:
    async def scenario(active: ActiveVersion, host: ScriptedHost) -> None:
        host.error = BackendUnavailableError("no")
        await asyncio.to_thread(act, promote, "2")
        await until(lambda: len(host.tried) == 4)
        host.error = None
        await asyncio.to_thread(act, promote, "3")
        await until(lambda: active.current.name.number == 3)
        assert host.closed in ([], [1])

    follow(scenario)


def test_a_bundle_damaged_after_its_promotion_is_not_opened(follow: Follow, act: Any, bundles: list[Path]) -> None:
    promotion = act(promote, "2")
    (bundles[1] / "model.safetensors").write_bytes(b"damaged")

    async def scenario(active: ActiveVersion, host: ScriptedHost) -> None:
        await asyncio.sleep(0.3)
        assert (active.current.name.number, host.tried) == (1, [])

    failures = named(follow(scenario), "version-not-served")
    assert promotion.version_number == 2
    assert "model.safetensors does not have the SHA-256" in failures[0]["reason"]


def test_a_version_that_reads_too_little_is_not_opened(
    follow: Follow, act: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    demanding = SETTINGS.gateway.model_copy(update={"max_note_characters": 505})
    monkeypatch.setattr(f"{__name__}.SETTINGS", SETTINGS.model_copy(update={"gateway": demanding}))
    act(promote, "2")

    async def scenario(active: ActiveVersion, host: ScriptedHost) -> None:
        await asyncio.sleep(0.3)
        assert (active.current.name.number, host.tried) == (1, [])

    failures = named(follow(scenario), "version-not-served")
    assert "is sure to read 504 characters" in failures[0]["reason"]


def test_a_database_that_is_away_for_a_while_changes_nothing(follow: Follow, act: Any, engine: Engine) -> None:
    async def scenario(active: ActiveVersion, host: ScriptedHost) -> None:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE promotions RENAME TO elsewhere"))
        await asyncio.sleep(0.2)
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO promotions"))
        await asyncio.to_thread(act, promote, "2")
        await until(lambda: active.current.name.number == 2)

    assert named(follow(scenario), "champion-unknown")


def test_requests_in_flight_are_waited_for(follow: Follow, act: Any, tmp_path: Path) -> None:
    async def scenario(active: ActiveVersion, host: ScriptedHost) -> None:
        with active.use() as served:
            await asyncio.to_thread(act, promote, "2")
            await until(lambda: active.current.name.number == 2)
            await asyncio.sleep(0.2)
            assert (served.name.number, host.closed) == (1, [])
        await until(lambda: host.closed == [1])

    follow(scenario)


def test_a_version_rolled_back_while_it_opens_never_answers(
    follow: Follow, act: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario(active: ActiveVersion, host: ScriptedHost) -> None:
        act(promote, "1")
        host.meanwhile = lambda: act(rollback)
        act(promote, "2")
        while not host.closed:
            await asyncio.sleep(0.01)
        assert active.current.name.number == 1
        assert (host.tried, host.closed) == ([2], [2])

    follow(scenario)
    assert "version 2" not in capsys.readouterr().out


def test_a_request_of_a_version_that_was_renamed_since_is_waited_for(follow: Follow) -> None:
    async def scenario(active: ActiveVersion, _: ScriptedHost) -> None:
        with active.use():
            renamed = active.current.renamed(active.current.name.model_copy(update={"alias": "champion"}))
            active.switch(renamed)
            assert not await active.until_unused(active.switch(renamed), timeout_seconds=0.05)
        assert await active.until_unused(renamed, timeout_seconds=1)

    follow(scenario)
