"""A simulation on the ledger: capacities, principals, what is stored and what is not, and repeatability."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from clinical_coding.artefact import new_id
from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import split_key
from clinical_coding.readers import read_records
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.settings import FeedbackSettings, ReasonCodes
from feedback.simulation.running import SERVICE, Simulated, SimulationReport, enrol, simulate
from feedback.simulation.settings import SimulationSettings, load_simulation
from feedback.tables import adjudications, cases, decisions, overrides
from ledger.principals import create_key, list_principals, revoke
from ledger.suggestions import suggestion_contents

CONFIGS = Path(__file__).parents[3] / "configs"
NUM_ENCOUNTERS = 12


@pytest.fixture(scope="module")
def settings() -> SimulationSettings:
    """The configuration that comes with chartloop, with short weeks and little capacity."""
    loaded = load_simulation(CONFIGS / "simulation.yaml")
    supervisors = tuple(one.model_copy(update={"weekly_capacity": 3}) for one in loaded.supervisors)
    return loaded.model_copy(update={"encounters_a_week": 5, "supervisors": supervisors})


def _encounters(*, routes: Sequence[str] = ("assisted",)) -> list[Simulated]:
    """Sample records with a suggestion that lacks their first code and holds one that is wrong."""
    made = []
    for number, record in enumerate(read_records(f"sample:{NUM_ENCOUNTERS}?seed=3")):
        request = SuggestionRequest(
            record_id=record.record_id, patient_id=record.patient_id, encounter=record.encounter, notes=record.notes
        )
        keys = [*sorted(record.keys())[1:], "icd10cm:Z76.0"]
        route = routes[number % len(routes)]
        made.append(Simulated(request, _suggestion(keys, route=route), record.keys()))
    return made


def _suggestion(keys: Sequence[str], *, route: str) -> Suggestion:
    rows: list[dict[str, object]] = []
    for rank, key in enumerate(keys, start=1):
        system, code = split_key(key)
        row = {"system": system, "code": code, "description": None, "confidence": 0.9, "rank": rank}
        rows.append(row | {"evidence": [], "alternatives": []})
    return Suggestion.model_validate(
        {
            "suggestion_id": new_id(),
            "version": {"name": "clinical-coder", "number": 1, "alias": None, "bundle_sha256": "0" * 64},
            "route": {"decision": route, "rules": [], "record_confidence": 0.9},
            "degraded": False,
            "codes": rows,
            "trace_id": "t1",
        }
    )


Runner = Callable[..., SimulationReport]


@pytest.fixture
def run(engine: Engine, settings: SimulationSettings, undrawn: FeedbackSettings, reasons: ReasonCodes) -> Runner:
    def start(
        encounters: Sequence[Simulated] | None = None, *, seed: int = 0, feedback: FeedbackSettings = undrawn
    ) -> SimulationReport:
        chosen = _encounters() if encounters is None else encounters
        return simulate(
            engine,
            chosen,
            settings=settings,
            feedback=feedback,
            reasons=reasons,
            seed=seed,
            systems=CodeSystems.embedded(),
        )

    return start


def test_weeks_capacities_and_counts(engine: Engine, run: Runner) -> None:
    report = run()
    assert (report.num_suggestions, report.num_decisions, report.num_weeks) == (NUM_ENCOUNTERS, NUM_ENCOUNTERS, 3)
    with engine.connect() as connection:
        stored = Counter(connection.scalars(select(overrides.c.action)))
        states = Counter(connection.scalars(select(cases.c.state)))
        verdicts = Counter(connection.scalars(select(adjudications.c.verdict)))
    assert report.overrides == stored
    assert report.verdicts == verdicts
    # Two supervisors of three cases a week.
    assert 0 < states["closed"] == verdicts.total() <= 3 * 6
    assert report.num_waiting == states["open"] > 0
    assert report.judged.total() == verdicts.total() - verdicts["policy-unclear"]
    assert report.found_wrong.total() == verdicts["ai-right"] + verdicts["both-wrong"]


def test_everybody_acts_as_a_principal_of_their_own(engine: Engine, run: Runner, settings: SimulationSettings) -> None:
    run()
    names = {principal.id: principal.name for principal in list_principals(engine)}
    with engine.connect() as connection:
        deciders = {names[one] for one in connection.scalars(select(decisions.c.principal_id))}
        judges = {names[one] for one in connection.scalars(select(adjudications.c.principal_id))}
    assert deciders <= {coder.name for coder in settings.coders}
    assert judges == {supervisor.name for supervisor in settings.supervisors}


def test_the_truth_stays_out_of_the_ledger(engine: Engine, run: Runner) -> None:
    run()
    with engine.connect() as connection:
        requests = list(connection.scalars(select(suggestion_contents.c.request)))
    assert len(requests) == NUM_ENCOUNTERS
    for asked in requests:
        assert set(SuggestionRequest.model_validate_json(asked).model_dump()) == {
            "record_id",
            "patient_id",
            "encounter",
            "notes",
        }


def test_the_same_seed_says_the_same(run: Runner) -> None:
    # The second run decides new suggestions of the same records, while cases of the first still wait.
    first, second, other = run(seed=4), run(seed=4), run(seed=5)
    assert (first.overrides, first.verdicts) == (second.overrides, second.verdicts)
    assert first.judged == second.judged != other.judged


def test_autonomous_and_manual_routes(engine: Engine, run: Runner, drawn: FeedbackSettings) -> None:
    report = run(_encounters(routes=("autonomous", "manual")), feedback=drawn)
    assert report.routes == {"autonomous": 6, "manual": 6}
    assert report.num_decisions == 6
    assert not report.overrides
    # Nobody sees what is coded by hand; all else is drawn, and wrong.
    assert report.audit_verdicts == {"both-wrong": 6}


def test_a_name_of_another_role_is_refused(engine: Engine, settings: SimulationSettings) -> None:
    create_key(engine, role="admin", name=settings.coders[0].name)
    with pytest.raises(ValueError, match="living coder"):
        enrol(engine, settings)


def test_a_revoked_name_is_refused(engine: Engine, settings: SimulationSettings) -> None:
    assert enrol(engine, settings) == enrol(engine, settings)
    revoke(engine, name=SERVICE)
    with pytest.raises(ValueError, match="living service"):
        enrol(engine, settings)
