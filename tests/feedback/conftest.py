"""People of every role, and stored suggestions whose codes are known, on SQLite and PostgreSQL."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Engine, select

from clinical_coding.artefact import new_id
from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import split_key
from clinical_coding.decisions import Adjudication, Decision
from clinical_coding.readers import read_records
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from feedback.adjudication import adjudicate
from feedback.audit_draws import SECURE_SOURCE
from feedback.decisions import RecordedDecision, record_decision
from feedback.queue import claim
from feedback.settings import FeedbackSettings, ReasonCodes, load_feedback, load_reasons
from feedback.tables import cases
from feedback.verdicts import AdjudicationRequest
from ledger.group_commit import write
from ledger.principals import Principal, authenticate, create_key
from ledger.suggestions import store

CONFIGS = Path(__file__).parents[2] / "configs"
ROLES = {
    "coder": "coder",
    "other-coder": "coder",
    "supervisor": "supervisor",
    "other-supervisor": "supervisor",
    "service": "service",
    "reviewer": "reviewer",
    "admin": "admin",
}
# What the fixtures' suggestions hold unless a test says otherwise.
SUGGESTED = ("icd10cm:I10", "icd10cm:E11.9", "icd10cm:R07.9", "cpt:99213")


@pytest.fixture
def people(engine: Engine) -> Mapping[str, Principal]:
    """By name: coder, other-coder, supervisor, other-supervisor, service, reviewer, admin."""
    found = {}
    for name, role in ROLES.items():
        principal = authenticate(engine, create_key(engine, role=role, name=name))
        assert principal is not None
        found[name] = principal
    return found


@pytest.fixture(scope="session")
def feedback_settings() -> FeedbackSettings:
    return load_feedback(CONFIGS / "feedback.yaml")


@pytest.fixture(scope="session")
def undrawn(feedback_settings: FeedbackSettings) -> FeedbackSettings:
    """Settings under which nothing is drawn for audit."""
    shares = ("accepted_share", "autonomous_share", "first_year_accepted_share", "first_year_autonomous_share")
    return feedback_settings.model_copy(update=dict.fromkeys(shares, 0.0))


@pytest.fixture(scope="session")
def drawn(feedback_settings: FeedbackSettings) -> FeedbackSettings:
    """Settings under which everything is drawn for audit."""
    shares = ("accepted_share", "autonomous_share", "first_year_accepted_share", "first_year_autonomous_share")
    return feedback_settings.model_copy(update=dict.fromkeys(shares, 1.0))


@pytest.fixture(scope="session")
def reasons() -> ReasonCodes:
    return load_reasons(CONFIGS / "reasons.yaml")


def make_request(number: int = 0) -> SuggestionRequest:
    """The notes and the encounter of a sample record, without its codes."""
    *_, record = read_records(f"sample:{number + 1}")
    return SuggestionRequest(
        record_id=record.record_id, patient_id=record.patient_id, encounter=record.encounter, notes=record.notes
    )


def make_suggestion(
    request: SuggestionRequest, *, codes: Sequence[str] = SUGGESTED, route: str = "assisted"
) -> Suggestion:
    """A suggestion of exactly these label keys, each with the first word of the first note for evidence."""
    note = request.notes[0]
    end = note.text.index(" ")
    evidence = {"note_id": note.note_id, "start": 0, "end": end, "text": note.text[:end]}
    rows = []
    for rank, key in enumerate(codes, start=1):
        system, code = split_key(key)
        row = {"system": system, "code": code, "description": None, "confidence": 0.9, "rank": rank}
        rows.append(row | {"evidence": [evidence], "alternatives": []})
    return Suggestion.model_validate(
        {
            "suggestion_id": new_id(),
            "version": {"name": "clinical-coder", "number": 1, "alias": "champion", "bundle_sha256": "0" * 64},
            "route": {"decision": route, "rules": ["confidence-below-threshold"], "record_confidence": 0.9},
            "degraded": False,
            "codes": rows,
            "trace_id": "0" * 32,
        }
    )


@pytest.fixture(scope="session")
def sample_request() -> SuggestionRequest:
    """The notes and the encounter of the first sample record."""
    return make_request()


@pytest.fixture
def suggest(
    engine: Engine, people: Mapping[str, Principal], sample_request: SuggestionRequest
) -> Callable[..., Suggestion]:
    """Store a suggestion, asked for by the service: ``suggest(codes=(…), route="assisted", request=…)``."""

    def make(
        *, codes: Sequence[str] = SUGGESTED, route: str = "assisted", request: SuggestionRequest = sample_request
    ) -> Suggestion:
        suggestion = make_suggestion(request, codes=codes, route=route)
        write(engine, lambda connection: store(connection, request, suggestion, principal=people["service"]))
        return suggestion

    return make


@pytest.fixture
def suggestion(suggest: Callable[..., Suggestion]) -> Suggestion:
    """A stored suggestion on the assisted route: I10, E11.9, R07.9 and 99213."""
    return suggest()


@pytest.fixture
def systems() -> CodeSystems:
    """The releases that judge codes; a test that imports others has its own."""
    return CodeSystems.embedded()


@pytest.fixture
def decide(
    engine: Engine,
    people: Mapping[str, Principal],
    undrawn: FeedbackSettings,
    reasons: ReasonCodes,
    systems: CodeSystems,
) -> Callable[..., RecordedDecision]:
    """Record a decision, by the coder and without an audit draw unless said otherwise.

    ``decide(suggestion_id, *actions, who="coder", key=None, outcome="decided", settings=undrawn, random_source=…)``,
    an action being ``("reject", "icd10cm:R07.9", "integral-symptom")``, ``("modify", KEY, TO, REASON)``,
    ``("add", KEY, REASON)`` or ``("accept", KEY)``.
    """

    def make(
        suggestion_id: str,
        *actions: tuple[str, ...],
        who: str = "coder",
        key: str | None = None,
        outcome: str = "decided",
        settings: FeedbackSettings = undrawn,
        random_source: Random = SECURE_SOURCE,
    ) -> RecordedDecision:
        codes = []
        for action, label, *rest in actions:
            system, code = split_key(label)
            named = dict(zip(("to", "reason") if action == "modify" else ("reason",), rest, strict=False))
            codes.append({"action": action, "system": system, "code": code, **named})
        body = {"suggestion_id": suggestion_id, "outcome": outcome, "codes": codes, "seconds_spent": 12.5}
        return record_decision(
            engine,
            Decision.model_validate(body),
            idempotency_key=new_id() if key is None else key,
            principal=people[who],
            settings=settings,
            reasons=reasons,
            random_source=random_source,
            systems=systems,
        )

    return make


@pytest.fixture
def judge(
    engine: Engine, people: Mapping[str, Principal], feedback_settings: FeedbackSettings, systems: CodeSystems
) -> Callable[..., Adjudication]:
    """Claim a case and give the verdict: ``judge(case_id, "both-wrong", {"icd10cm:I10": "positive"}, who=…)``."""

    def make(
        case_id: str, verdict: str, codes: Mapping[str, str] | None = None, *, who: str = "supervisor"
    ) -> Adjudication:
        named = [
            {"system": system, "code": code, "state": state}
            for (system, code), state in ((split_key(key), state) for key, state in (codes or {}).items())
        ]
        body = {"verdict": verdict, "citation": "ICD-10-CM guideline I.B.4", "codes": named if codes else None}
        claim(engine, case_id, principal=people[who], settings=feedback_settings, systems=systems)
        return adjudicate(
            engine, case_id, AdjudicationRequest.model_validate(body), principal=people[who], systems=systems
        )

    return make


@pytest.fixture
def override(suggest: Callable[..., Suggestion], decide: Callable[..., RecordedDecision]) -> Callable[..., str]:
    """Make an override case and give its id: ``override(*actions, who="coder")``, actions as of ``decide``.

    Without actions R07.9 is rejected; with several, the id is that of the first.
    """

    def make(*actions: tuple[str, ...], who: str = "coder") -> str:
        recorded = decide(
            suggest().suggestion_id, *(actions or [("reject", "icd10cm:R07.9", "integral-symptom")]), who=who
        )
        case_id: str = recorded.overrides[0].override_id
        return case_id

    return make


@pytest.fixture
def audit(
    engine: Engine, suggest: Callable[..., Suggestion], decide: Callable[..., RecordedDecision], drawn: FeedbackSettings
) -> Callable[..., str]:
    """Make an audit case by letting a suggestion stand, and give its id."""

    def make(who: str = "coder") -> str:
        suggestion = suggest()
        decide(suggestion.suggestion_id, who=who, settings=drawn)
        with engine.connect() as connection:
            query = select(cases.c.id).where(cases.c.suggestion_id == suggestion.suggestion_id)
            case_id: str = connection.execute(query).scalar_one()
        return case_id

    return make
