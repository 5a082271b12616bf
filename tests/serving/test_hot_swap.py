"""A promotion under load, with a real Triton, a real registry and a real ledger."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from clinical_coding.bundle import read_bundle
from clinical_coding.readers import read_records
from clinical_coding.suggestions import Suggestion, SuggestionRequest, VersionName
from governance.promotion import promote
from ledger.engine import ledger
from ledger.principals import Principal, authenticate, create_key
from ledger.suggestions import suggestions
from serving.client import Client

NUM_CLIENTS = 8
SETTINGS = {
    "gateway": {"follow_seconds": 0.5},
    "fallback": {"num_threads": 1},
    "triton": {"max_batch_size": 2, "max_num_threads": 1},
}
[RECORD] = read_records("sample:1?seed=5")
REQUEST = SuggestionRequest(record_id="r1", encounter=RECORD.encounter, notes=RECORD.notes)


@dataclass
class Load:
    """What clients that hardly pause were answered, in order of arrival."""

    url: str
    key: str
    answers: list[Suggestion] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        ending = threading.Event()
        clients = [threading.Thread(target=self._ask, args=(ending,)) for _ in range(NUM_CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            ending.set()
            for client in clients:
                client.join()

    def _ask(self, ending: threading.Event) -> None:
        with Client(self.url, self.key) as client:
            while not ending.is_set():
                try:
                    self.answers.append(client.suggest(REQUEST))
                except ValueError as error:
                    self.failures.append(str(error))
                # Leaves the processors some time to load the next version.
                time.sleep(0.03)

    def wait_for(self, number: int) -> None:
        """Wait until every client has been answered by a version."""
        enough = self.num_by(number) + 2 * NUM_CLIENTS
        give_up_at = time.monotonic() + 60
        while self.num_by(number) < enough and time.monotonic() < give_up_at:
            time.sleep(0.05)

    def num_by(self, number: int) -> int:
        return sum(answer.version.number == number for answer in tuple(self.answers))


def says_the_same(answer: Suggestion, other: Suggestion) -> bool:
    """A batch is summed in another order, so confidences agree to some digits."""
    codes, others = ({code.code: code.confidence for code in one.codes} for one in (answer, other))
    return codes == pytest.approx(others, abs=1e-4)


def test_a_promotion_is_served_under_load_without_a_failed_request(
    start: Callable[..., Any],
    data_dir: Path,
    tiny_bundle: Path,
    vary_bundle: Callable[..., Path],
    register_bundle: Callable[[Path], int],
) -> None:
    first = read_bundle(tiny_bundle)[0]
    surer = first.calibration.model_copy(update={"offset": first.calibration.offset + 0.5})
    bundles = (tiny_bundle, vary_bundle("surer", calibration=surer.model_dump()))
    # Sound by its hashes, and unfit to be loaded.
    unfit = vary_bundle("unfit", file="labels.json", content=b"[]")
    assert [register_bundle(bundle) for bundle in (*bundles, unfit)] == [1, 2, 3]
    hashes = [read_bundle(bundle)[1] for bundle in bundles]
    candidate = VersionName(name="clinical-coder", number=1, alias="candidate", bundle_sha256=hashes[0])
    serving = start(
        tiny_bundle,
        data_dir,
        version=candidate.model_dump(),
        settings=SETTINGS,
        backend="triton",
        triton_grpc_port=0,
        triton_metrics_port=0,
        follows_champion=True,
    )
    load = Load(serving.url, serving.key)
    with ledger(data_dir) as engine:
        reviewer = authenticate(engine, create_key(engine, role="reviewer", name="rea"))
        assert isinstance(reviewer, Principal)

        def promote_(number: int) -> None:
            promote(engine, str(number), reason="better", principal=reviewer, data_dir=data_dir)

        promote_(1)
        assert serving.wait_for_line() == f"serving: version 1, champion (bundle {hashes[0][:12]})"
        children = serving.children()
        with load.running():
            load.wait_for(1)
            num_asked = len(load.answers)
            promote_(2)
            assert serving.wait_for_line() == f"serving: version 2, champion (bundle {hashes[1][:12]})"
            num_served = len(load.answers)
            load.wait_for(2)
            promote_(3)
            wait_for_event(serving.log_path, "version-not-served")
            load.wait_for(2)
        with engine.connect() as connection:
            num_stored = connection.execute(select(func.count()).select_from(suggestions)).scalar_one()
    assert load.failures == []
    assert num_stored == len(load.answers)
    check_answers(load, num_asked=num_asked, num_served=num_served, hashes=hashes)
    check_what_is_told(serving.url, bundle_sha256=hashes[1])
    # The old stub and the old worker end; between two attempts nothing of the version that failed is left.
    give_up_at = time.monotonic() + 20
    while len(serving.children()) > len(children) and time.monotonic() < give_up_at:
        time.sleep(0.1)
    assert len(serving.children()) == len(children)
    events = [json.loads(line) for line in serving.log_path.read_text().splitlines()]
    # On a slow machine it was tried more than once.
    failure = next(event for event in events if event["event"] == "version-not-served")
    assert failure["number"] == 3
    assert re.fullmatch(r"Triton did not load versions 2, 3 of clinical-coder .*; see .*server\.log", failure["reason"])
    assert {"triton_down", "fallback-worker-ended", "primary-failed"}.isdisjoint(event["event"] for event in events)
    assert serving.end() == (0, "")


def check_answers(load: Load, *, num_asked: int, num_served: int, hashes: list[str]) -> None:
    """By version 1 until it is promoted, by version 2 once that is told, each with its own codes."""
    numbers = [answer.version.number for answer in load.answers]
    assert set(numbers[:num_asked]) == {1}
    # Each client may have had one request in flight when the version changed.
    assert numbers[num_served:].count(1) <= NUM_CLIENTS
    assert not any(answer.degraded for answer in load.answers)
    examples = []
    for number in (1, 2):
        mine = [answer for answer in load.answers if answer.version.number == number]
        assert {answer.version.bundle_sha256 for answer in mine} == {hashes[number - 1]}
        assert {answer.version.alias for answer in mine} == {"champion"}
        assert all(says_the_same(answer, mine[0]) for answer in mine)
        examples.append(mine[0])
    assert len(numbers) == numbers.count(1) + numbers.count(2)
    assert not says_the_same(*examples)


def check_what_is_told(url: str, *, bundle_sha256: str) -> None:
    ready = httpx.get(f"{url}/readyz", trust_env=False).json()
    assert (ready["version"]["number"], ready["version"]["alias"]) == (2, "champion")
    metrics = httpx.get(f"{url}/metrics", trust_env=False).text
    assert f'chartloop_version_info{{bundle="{bundle_sha256[:12]}",number="2"}} 1.0' in metrics
    assert "chartloop_triton_restarts 0.0" in metrics


def wait_for_event(log_path: Path, event: str) -> None:
    give_up_at = time.monotonic() + 60
    while f'"{event}"' not in log_path.read_text():
        assert time.monotonic() < give_up_at, f"{event} was not logged"
        time.sleep(0.05)
