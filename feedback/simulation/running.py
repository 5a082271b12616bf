"""A simulation on the ledger: suggestions stored, decided and judged through the functions that people's answers take.

Week by week, coders decide what was suggested and supervisors work the queue within their capacity. Coders
and supervisors are principals of their own. The truth stays in this process: what reaches the ledger is what
a coder or a supervisor would have said. It does not know how suggestions are made.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import islice
from random import Random
from typing import Final

from sqlalchemy import Connection, Engine

from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import Verdict
from clinical_coding.suggestions import RouteDecision, Suggestion, SuggestionRequest
from feedback.adjudication import adjudicate
from feedback.audit_draws import draw_autonomous
from feedback.decisions import record_decision
from feedback.queue import MAX_PAGE, CaseSummary, claim, list_cases
from feedback.settings import FeedbackSettings, ReasonCodes
from feedback.simulation.coders import decide
from feedback.simulation.settings import SimulatedCoder, SimulatedSupervisor, SimulationSettings
from feedback.simulation.supervisors import judge
from feedback.verdicts import CaseKind
from ledger.group_commit import write
from ledger.principals import Principal, Role, create_key, list_principals
from ledger.suggestions import store

__all__ = ["SERVICE", "Simulated", "SimulationReport", "enrol", "simulate"]

SERVICE: Final = "sim-service"
"""The principal who asks for the suggestions."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """An encounter of the simulation."""

    request: SuggestionRequest
    suggestion: Suggestion
    right: frozenset[str]
    """Label keys of the codes that belong on the record; they never reach the ledger."""


@dataclass(slots=True)
class SimulationReport:
    """What happened."""

    num_suggestions: int = 0
    num_weeks: int = 0
    num_decisions: int = 0
    routes: Counter[str] = field(default_factory=Counter)
    overrides: Counter[str] = field(default_factory=Counter)
    """By action."""
    verdicts: Counter[str] = field(default_factory=Counter)
    """On overrides."""
    audit_verdicts: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    """Overrides with a verdict, by coder."""
    found_wrong: Counter[str] = field(default_factory=Counter)
    """Of these, where the verdict is not coder-right, by coder; policy-unclear is in neither."""
    num_waiting: int = 0
    """Cases of this simulation that are left in the queue."""

    def as_dict(self) -> dict[str, int | dict[str, int]]:
        """Everything by name, ready for JSON."""
        values = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values}


def enrol(engine: Engine, settings: SimulationSettings, *, acting: Principal | None = None) -> dict[str, Principal]:
    """Find or make the principals of a simulation; their keys are kept nowhere.

    Raises:
        ValueError: A name is held by a principal of another role, or by one that was revoked.
    """
    roles = {SERVICE: Role.SERVICE}
    roles |= {coder.name: Role.CODER for coder in settings.coders}
    roles |= {supervisor.name: Role.SUPERVISOR for supervisor in settings.supervisors}
    known = {principal.name for principal in list_principals(engine)}
    for name, role in roles.items():
        if name not in known:
            create_key(engine, role=role, name=name, acting=acting)
    enrolled = {principal.name: principal for principal in list_principals(engine) if principal.name in roles}
    for name, role in roles.items():
        if enrolled[name].role is not role or enrolled[name].revoked_at is not None:
            raise ValueError(f"name {name!r} is not that of a living {role}; choose other names for the simulation")
    return enrolled


def simulate(
    engine: Engine,
    encounters: Iterable[Simulated],
    *,
    settings: SimulationSettings,
    feedback: FeedbackSettings,
    reasons: ReasonCodes,
    systems: CodeSystems,
    seed: int,
    acting: Principal | None = None,
    progress: Callable[[int], None] = lambda num_encounters: None,
) -> SimulationReport:
    """Let coders decide and supervisors judge.

    Args:
        engine: A migrated database.
        encounters: With their suggestions, which are stored here.
        settings: Staff and pace.
        feedback: Shares drawn, and how long a claim lasts.
        reasons: The reason codes.
        systems: The releases that judge and describe codes.
        seed: Who gets which encounter and what they say of it depend on it and on the record alone.
        acting: Who runs the simulation, for the audit log of new principals; each themselves when None.
        progress: Called with a number of encounters decided since the last call.
    """
    run = _Run(engine, settings, feedback, reasons, systems, seed, enrol(engine, settings, acting=acting))
    stream = iter(encounters)
    while week := list(islice(stream, settings.encounters_a_week)):
        run.report.num_weeks += 1
        for encounter in week:
            run.take(encounter)
            progress(1)
        run.work_queue()
    run.report.num_waiting = sum(1 for _ in run.open_cases())
    return run.report


@dataclass
class _Run:
    engine: Engine
    settings: SimulationSettings
    feedback: FeedbackSettings
    reasons: ReasonCodes
    systems: CodeSystems
    seed: int
    people: Mapping[str, Principal]
    report: SimulationReport = field(default_factory=SimulationReport)
    right: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    """By suggestion: the record's id and its right codes."""
    coders: dict[str, str] = field(default_factory=dict)
    """By suggestion: who decided."""

    def take(self, encounter: Simulated) -> None:
        request, suggestion = encounter.request, encounter.suggestion
        rng = self._random("decision", request.record_id)
        write(self.engine, lambda connection: self._store(connection, encounter, chance=rng))
        self.right[suggestion.suggestion_id] = (request.record_id, encounter.right)
        self.report.num_suggestions += 1
        self.report.routes[suggestion.route.decision.value] += 1
        if suggestion.route.decision is not RouteDecision.AUTONOMOUS:
            coder = self.settings.coders[int(rng.random() * len(self.settings.coders))]
            self._decide(encounter, coder=coder, rng=rng)

    def _store(self, connection: Connection, encounter: Simulated, *, chance: Random) -> None:
        request, suggestion, service = encounter.request, encounter.suggestion, self.people[SERVICE]
        store(connection, request, suggestion, principal=service)
        draw_autonomous(
            connection, suggestion, request, principal=service, settings=self.feedback, random_source=chance
        )

    def _decide(self, encounter: Simulated, *, coder: SimulatedCoder, rng: Random) -> None:
        suggestion_id = encounter.suggestion.suggestion_id
        recorded = record_decision(
            self.engine,
            decide(encounter.suggestion, right=encounter.right, coder=coder, rng=rng),
            idempotency_key=suggestion_id,
            principal=self.people[coder.name],
            settings=self.feedback,
            reasons=self.reasons,
            systems=self.systems,
            random_source=rng,
        )
        self.coders[suggestion_id] = coder.name
        self.report.num_decisions += 1
        self.report.overrides.update(override.action.value for override in recorded.overrides)

    def work_queue(self) -> None:
        """Let every supervisor judge as many cases as a week holds, in turns."""
        left = {supervisor.name: supervisor.weekly_capacity for supervisor in self.settings.supervisors}
        due = self.open_cases()
        while any(left.values()):
            for supervisor in self.settings.supervisors:
                if left[supervisor.name] == 0:
                    continue
                case = next(due, None)
                if case is None:
                    return
                self._judge(case, supervisor=supervisor)
                left[supervisor.name] -= 1

    def open_cases(self) -> Iterator[CaseSummary]:
        """This simulation's cases in the order of the queue; those of others are left alone."""
        principal, after = self.people[self.settings.supervisors[0].name], None
        while True:
            page = list_cases(self.engine, principal=principal, limit=MAX_PAGE, after=after)
            yield from (case for case in page.cases if case.suggestion_id in self.right)
            after = page.next_after
            if after is None:
                return

    def _judge(self, case: CaseSummary, *, supervisor: SimulatedSupervisor) -> None:
        record_id, right = self.right[case.suggestion_id]
        rng = self._random("verdict", f"{record_id}:{case.kind}:{case.system}:{case.code}")
        principal = self.people[supervisor.name]
        seen = claim(self.engine, case.case_id, principal=principal, settings=self.feedback, systems=self.systems)
        asked = judge(seen, right=right, supervisor=supervisor, rng=rng)
        verdict = adjudicate(self.engine, case.case_id, asked, principal=principal, systems=self.systems).verdict
        self._count(case, verdict)

    def _count(self, case: CaseSummary, verdict: Verdict) -> None:
        if case.kind is CaseKind.AUDIT:
            self.report.audit_verdicts[verdict.value] += 1
            return
        self.report.verdicts[verdict.value] += 1
        coder = self.coders[case.suggestion_id]
        self.report.judged[coder] += verdict is not Verdict.POLICY_UNCLEAR
        self.report.found_wrong[coder] += verdict in (Verdict.AI_RIGHT, Verdict.BOTH_WRONG)

    def _random(self, what: str, about: str) -> Random:
        return Random(f"chartloop-simulation:{self.seed}:{what}:{about}")
