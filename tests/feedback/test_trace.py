"""From any id back to who decided what; and the loop from a decision to a record that training reads."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from sqlalchemy import Engine, delete, select

from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeState
from clinical_coding.readers import assign_split, read_records
from clinical_coding.records import Split
from clinical_coding.suggestions import SuggestionRequest
from feedback.errors import FeedbackError, ForbiddenError, NotFoundError
from feedback.settings import FeedbackSettings
from feedback.tables import audit_draws
from feedback.trace import trace
from feedback.training_set import export
from feedback.training_set_routes import training_set_router
from ledger.audit_log import audit_log
from ledger.engine import writing
from ledger.principals import Principal
from ledger.suggestions import suggestion_contents

SYSTEMS = CodeSystems.embedded()

People = Mapping[str, Principal]
Maker = Callable[..., Any]
REJECT = ("reject", "icd10cm:R07.9", "integral-symptom")
MODIFY = ("modify", "icd10cm:E11.9", "E11.65", "more-specific-code-documented")
TRAIN = next(name for name in ("p0", "p1", "p2", "p3") if assign_split(name) is Split.TRAIN)


@pytest.fixture
def request_of_train(sample_request: SuggestionRequest) -> SuggestionRequest:
    return sample_request.model_copy(update={"patient_id": TRAIN})


@pytest.fixture
def judged(suggest: Maker, decide: Maker, judge: Maker, request_of_train: SuggestionRequest) -> dict[str, str]:
    """Ids of a suggestion that was deferred, then decided with two overrides, one of them judged."""
    suggestion_id = suggest(request=request_of_train).suggestion_id
    deferred = decide(suggestion_id, outcome="deferred", who="other-coder")
    decided = decide(suggestion_id, REJECT, MODIFY)
    rejected, modified = decided.overrides
    return {
        "suggestion": suggestion_id,
        "deferred": deferred.decision_id,
        "decision": decided.decision_id,
        "override": rejected.override_id,
        "open": modified.override_id,
        "adjudication": judge(rejected.override_id, "coder-right").adjudication_id,
    }


def test_any_id_leads_to_the_whole_way(engine: Engine, people: People, judged: dict[str, str]) -> None:
    kinds = {
        "feedback-" + judged["suggestion"]: "training-record",
        judged["suggestion"]: "suggestion",
        judged["deferred"]: "decision",
        judged["decision"]: "decision",
        judged["override"]: "override",
        judged["adjudication"]: "adjudication",
    }
    whole = trace(engine, judged["suggestion"], principal=people["admin"])
    for identifier, kind in kinds.items():
        found = trace(engine, identifier, principal=people["supervisor"])
        assert (found.asked_for, found.kind) == (identifier, kind)
        assert found.model_copy(update={"asked_for": whole.asked_for, "kind": whole.kind}) == whole


def test_a_trace_says_who_when_and_why(engine: Engine, people: People, judged: dict[str, str]) -> None:
    found = trace(engine, judged["adjudication"], principal=people["service"])
    assert found.suggestion.by.principal_id == people["service"].id
    assert (found.suggestion.version_number, found.suggestion.route) == (1, "assisted")
    assert found.suggestion.codes is not None
    assert [code.code for code in found.suggestion.codes] == ["I10", "E11.9", "R07.9", "99213"]
    deferred, decided = found.decisions
    assert (deferred.outcome, deferred.by.name) == ("deferred", "other-coder")
    assert (decided.decision_id, decided.by.name, decided.by.role) == (judged["decision"], "coder", "coder")
    assert [code.action for code in decided.codes] == ["reject", "modify"]
    rejected, modified = found.overrides
    assert (rejected.override_id, rejected.reason, rejected.to) == (judged["override"], "integral-symptom", None)
    assert (modified.code, modified.to, modified.log) == ("E11.9", "E11.65", ())
    [verdict] = found.adjudications
    assert (verdict.case_id, verdict.by.name, verdict.verdict) == (judged["override"], "supervisor", "coder-right")
    assert verdict.citation == "ICD-10-CM guideline I.B.4"
    assert [(code.key, code.state) for code in verdict.codes] == [("icd10cm:R07.9", "negative")]
    assert found.suggestion.stored_at <= deferred.decided_at <= decided.decided_at <= verdict.adjudicated_at


def test_each_step_names_its_entries_of_the_audit_log(engine: Engine, people: People, judged: dict[str, str]) -> None:
    found = trace(engine, judged["suggestion"], principal=people["supervisor"])
    steps = [found.suggestion, *found.decisions, found.overrides[0], found.adjudications[0]]
    told = {entry.seq: entry.action for step in steps for entry in step.log}
    assert list(told.values()) == [
        "suggestion-made",
        "decision-made",
        "decision-made",
        "case-claimed",
        "case-adjudicated",
    ]
    with engine.connect() as connection:
        rows = connection.execute(select(audit_log.c.seq, audit_log.c.action).where(audit_log.c.seq.in_(told)))
        assert {row.seq: row.action for row in rows} == told
    assert [entry.principal for entry in found.adjudications[0].log] == ["supervisor"]


def test_an_audited_suggestion_shows_its_draw(
    engine: Engine, people: People, suggest: Maker, decide: Maker, judge: Maker, drawn: FeedbackSettings
) -> None:
    suggestion_id = suggest().suggestion_id
    decide(suggestion_id, settings=drawn)
    with engine.connect() as connection:
        draw_id = connection.execute(select(audit_draws.c.id)).scalar_one()
    # Before the verdict nobody learns what is looked at.
    assert trace(engine, suggestion_id, principal=people["supervisor"]).audit_draw is None
    judge(draw_id, "ai-right")
    found = trace(engine, draw_id, principal=people["supervisor"])
    assert found.kind == "audit-draw"
    assert found.audit_draw is not None
    assert (found.audit_draw.stratum, found.audit_draw.probability) == ("accepted", 1.0)
    assert [entry.action for entry in found.audit_draw.log] == ["audit-drawn", "case-claimed"]
    assert found.overrides == ()
    assert found.adjudications[0].case_id == draw_id


def test_what_the_manual_route_withholds_is_traced_once_decided_and_by_no_service(
    engine: Engine, people: People, suggest: Maker, decide: Maker
) -> None:
    suggestion_id = suggest(route="manual").suggestion_id
    for who in ("supervisor", "service"):
        assert trace(engine, suggestion_id, principal=people[who]).suggestion.codes is None
    decide(suggestion_id)
    assert trace(engine, suggestion_id, principal=people["supervisor"]).suggestion.codes
    assert trace(engine, suggestion_id, principal=people["service"]).suggestion.codes is None


def test_a_purged_suggestion_is_still_traced(engine: Engine, people: People, judged: dict[str, str]) -> None:
    with writing(engine) as connection:
        connection.execute(delete(suggestion_contents))
    found = trace(engine, judged["suggestion"], principal=people["supervisor"])
    assert found.suggestion.codes is None
    assert len(found.suggestion.content_sha256) == 64
    assert found.adjudications[0].adjudication_id == judged["adjudication"]


def test_a_trace_holds_no_notes(
    engine: Engine, people: People, judged: dict[str, str], request_of_train: SuggestionRequest
) -> None:
    text = trace(engine, judged["suggestion"], principal=people["supervisor"]).model_dump_json()
    assert not any(line in text for note in request_of_train.notes for line in note.text.split("\n") if len(line) > 8)


@pytest.mark.parametrize("identifier", ["nowhere", "feedback-nowhere", "feedback-", "", "\0", "é", "x" * 10_000])
def test_an_unknown_id_is_named_so(engine: Engine, people: People, identifier: str) -> None:
    with pytest.raises(NotFoundError, match="nothing is stored under this id; give that of a training record"):
        trace(engine, identifier, principal=people["supervisor"])


@pytest.mark.parametrize("who", ["coder", "reviewer"])
def test_other_roles_trace_nothing(engine: Engine, people: People, judged: dict[str, str], who: str) -> None:
    with pytest.raises(ForbiddenError, match="may not trace"):
        trace(engine, judged["suggestion"], principal=people[who])


@pytest.fixture
def client(engine: Engine, people: People) -> Iterator[TestClient]:
    """A small application of the router alone; the header ``who`` names the principal."""
    app = FastAPI()

    def acting(request: Request) -> Principal:
        return people[request.headers["who"]]

    app.include_router(training_set_router(engine, acting=acting))

    @app.exception_handler(FeedbackError)
    def answer(_: Request, error: FeedbackError) -> JSONResponse:
        return JSONResponse({"kind": error.kind}, status_code=400)

    with TestClient(app) as client:
        yield client


def test_the_same_is_told_over_http(engine: Engine, people: People, client: TestClient, judged: dict[str, str]) -> None:
    answer = client.get(f"/v1/trace/feedback-{judged['suggestion']}", headers={"who": "supervisor"})
    found = trace(engine, f"feedback-{judged['suggestion']}", principal=people["supervisor"])
    assert (answer.status_code, answer.json()) == (200, found.model_dump(mode="json"))
    assert client.get("/v1/trace/nowhere", headers={"who": "supervisor"}).json() == {"kind": "unknown-id"}
    assert client.get(f"/v1/trace/{judged['decision']}", headers={"who": "coder"}).json() == {"kind": "forbidden"}


def test_every_record_that_feedback_gave_leads_back_to_its_verdicts(
    engine: Engine,
    people: People,
    suggest: Maker,
    decide: Maker,
    judge: Maker,
    request_of_train: SuggestionRequest,
    drawn: FeedbackSettings,
    tmp_path: Path,
) -> None:
    def ask(number: int) -> str:
        identifier: str = suggest(request=request_of_train.model_copy(update={"record_id": f"r{number}"})).suggestion_id
        return identifier

    for override in decide(ask(1), REJECT, MODIFY).overrides:
        judge(override.override_id, "both-wrong", {"icd10cm:J45.909": "positive"})
    judge(decide(ask(2), MODIFY).overrides[0].override_id, "ai-right", who="other-supervisor")
    decide(ask(3), settings=drawn)
    with engine.connect() as connection:
        judge(connection.execute(select(audit_draws.c.id)).scalar_one(), "ai-right")
    report = export(engine, out=tmp_path / "set", replay=["sample:10"], principal=people["service"], systems=SYSTEMS)
    records = [
        record
        for record in read_records(f"jsonl:{report.folder / 'records.jsonl'}")
        if record.record_id.startswith("feedback-")
    ]
    assert len(records) == report.num_feedback == 3
    for record in records:
        found = trace(engine, record.record_id, principal=people["supervisor"])
        assert record.record_id == f"feedback-{found.suggestion.suggestion_id}"
        verdicts = {one.adjudication_id: one for one in found.adjudications}
        learnt = [code for code in record.codes if code.state is not CodeState.UNKNOWN]
        assert learnt
        for code in learnt:
            assert code.provenance.adjudication_id is not None
            verdict = verdicts[code.provenance.adjudication_id]
            assert (code.key, code.state) in {(one.key, one.state) for one in verdict.codes}
            assert verdict.by.role == "supervisor"
            assert [entry.action for entry in verdict.log] == ["case-adjudicated"]
        assert found.decisions[0].by.name == "coder"
