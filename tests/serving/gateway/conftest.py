"""A gateway with scripted backends: the failures of real ones, at will and without waiting."""

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from clinical_coding.bundle import Label
from clinical_coding.codes import CodeSystem, EvidenceSpan
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Note
from clinical_coding.suggestions import VersionName
from feedback.settings import load_feedback, load_reasons
from ledger.engine import default_url, migrate, open_engine
from ledger.principals import create_key
from scripts.answer_rules import load_rules
from serving.backends import Backend, Priority, ScoredCodes
from serving.gateway.active import ActiveVersion, ServedVersion
from serving.gateway.app import create_app
from serving.gateway.settings import GatewaySettings

NOTE = "Follow-up of essential hypertension. Denies chest pain."
REQUEST: dict[str, Any] = {
    "record_id": "r1",
    "encounter": {"setting": "outpatient", "specialty": "cardiology", "complexity": "low"},
    "notes": [{"note_id": "n1", "text": NOTE}],
}
CODES = (
    PredictedCode(
        system=CodeSystem.ICD10CM,
        code="I10",
        confidence=0.9,
        suggested=True,
        evidence=(EvidenceSpan(note_id="n1", start=13, end=35),),
    ),
    PredictedCode(system=CodeSystem.ICD10CM, code="I11.9", confidence=0.2, suggested=False),
    PredictedCode(system=CodeSystem.CPT, code="99213", confidence=0.1, suggested=False),
)
LABELS = (
    Label(system=CodeSystem.ICD10CM, release="2026-04", code="I10", description="Essential (primary) hypertension"),
    Label(system=CodeSystem.ICD10CM, release="2026-04", code="I11.9", description="Hypertensive heart disease"),
    Label(system=CodeSystem.CPT, release=None, code="99213", description=None),
)
VERSION = VersionName(name="clinical-coder", number=3, alias="candidate", bundle_sha256="a" * 64)


CONFIGS = Path(__file__).parents[3] / "configs"
FEEDBACK = load_feedback(CONFIGS / "feedback.yaml").model_copy(update={"first_year_autonomous_share": 1.0})
REASONS = load_reasons(CONFIGS / "reasons.yaml")
RULES = load_rules(Path("none"))


def served(primary: Backend, fallback: Backend | None, **settings: Any) -> ServedVersion:
    return ServedVersion.join(
        VERSION,
        labels=LABELS,
        primary=primary,
        fallback=fallback,
        settings=GatewaySettings(**settings),
        rules=RULES,
    )


class ScriptedBackend:
    """Answers ``codes``, or fails with ``error``, after ``delay_seconds``."""

    def __init__(self) -> None:
        self.codes = CODES
        self.error: Exception | None = None
        self.next_errors: deque[Exception | None] = deque()
        """Of the next requests, in the place of ``error``; None answers."""
        self.priorities: list[Priority] = []
        self.delay_seconds = 0.0
        self.num_asked = 0
        self.num_cancelled = 0

    async def score(
        self, notes: Sequence[Note], *, timeout_seconds: float, priority: Priority = Priority.INTERACTIVE
    ) -> ScoredCodes:
        self.num_asked += 1
        self.priorities.append(priority)
        is_canary = notes[0].note_id == "canary"
        error = self.next_errors.popleft() if self.next_errors and not is_canary else self.error
        try:
            await asyncio.sleep(self.delay_seconds)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        if error is not None:
            raise error
        return ScoredCodes(
            tuple(code.model_copy(update={"evidence": _within(notes[0], code.evidence)}) for code in self.codes)
        )


def _within(note: Note, evidence: tuple[EvidenceSpan, ...]) -> tuple[EvidenceSpan, ...]:
    """Evidence on the first note, whatever its name, as far as it is long enough."""
    return tuple(span.model_copy(update={"note_id": note.note_id}) for span in evidence if span.end <= len(note.text))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(default_url(tmp_path))
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def primary() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def fallback() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def key(engine: Engine) -> str:
    return create_key(engine, role="coder", name="ada")


@pytest.fixture
def request_body() -> dict[str, Any]:
    return copy.deepcopy(REQUEST)


OpenGateway = Callable[..., TestClient]


@pytest.fixture
def active(primary: ScriptedBackend, fallback: ScriptedBackend) -> ActiveVersion:
    """The version of the gateway that ``gateway`` opens."""
    return ActiveVersion(served(primary, fallback))


@pytest.fixture
def make_app(active: ActiveVersion) -> Iterator[Callable[..., TestClient]]:
    """Open a gateway on a database."""
    opened = []

    def make(engine: Engine, *, active: ActiveVersion = active, **settings: Any) -> TestClient:
        app = create_app(
            GatewaySettings(**settings),
            active=active,
            engine=engine,
            feedback=FEEDBACK,
            reasons=REASONS,
            systems=RULES.systems,
            gauges={"triton_restarts": ("Restarts of Triton.", lambda: 4)},
        )
        client = TestClient(app)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def open_gateway(
    make_app: Callable[..., TestClient], engine: Engine, primary: ScriptedBackend, fallback: ScriptedBackend
) -> OpenGateway:
    """Open a gateway with some settings changed; ``with_fallback=False`` leaves the fallback out."""

    def open_(*, with_fallback: bool = True, **settings: Any) -> TestClient:
        active = ActiveVersion(served(primary, fallback if with_fallback else None, **settings))
        return make_app(engine, active=active, **settings)

    return open_


@pytest.fixture
def gateway(make_app: Callable[..., TestClient], engine: Engine, key: str) -> TestClient:
    client = make_app(engine)
    client.headers["Authorization"] = f"Bearer {key}"
    return client
