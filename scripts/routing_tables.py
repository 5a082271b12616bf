"""What a policy does, as tables for people, at most 100 columns wide."""

from collections.abc import Iterator
from datetime import date

from rich.table import Table

from serving.routing import RoutingRules
from serving.routing.pilots import PilotPlan
from serving.routing.rules import RoutingRule, WatchLine
from serving.routing.shares import Share
from serving.routing.simulation import PolicyResult, Simulation

__all__ = ["pilot_tables", "policy_tables", "simulation_tables"]


def policy_tables(rules: RoutingRules, *, on: date) -> Iterator[Table]:
    """The lines of a policy, and whether they are in force on a day."""
    table = _table(f"thresholds of the record confidence; codes changed within {rules.changed_within_days} days count")
    for name in ("setting", "specialty"):
        table.add_column(name)
    for name in ("autonomous from", "assisted from"):
        table.add_column(name, justify="right")
    table.add_column("reason")
    for line in rules.thresholds:
        place = (line.setting or "any", line.specialty or "any")
        table.add_row(*place, f"{line.autonomous_from:g}", f"{line.assisted_from:g}", line.reason)
    yield table
    table = _table(f"rules; those not in force on {on} are dim")
    for name in ("rule", "route", "from", "to", "reason"):
        table.add_column(name)
    lines: tuple[RoutingRule | WatchLine, ...] = (*rules.rules, *rules.watch_list)
    for rule in lines:
        dates = (str(rule.effective_from or ""), str(rule.effective_to or ""))
        style = "" if rule.is_in_force(on) else "dim"
        table.add_row(rule.name, rule.route, *dates, rule.reason, style=style)
    yield table


def simulation_tables(simulation: Simulation) -> Iterator[Table]:
    """Routes and errors of each policy, its rules, its slices."""
    table = _table(f"{simulation.num_encounters:,} encounters; error: a wrong or a missing code on the encounter")
    table.add_column("")
    for policy in simulation.policies:
        table.add_column(policy.name, justify="right")
    for at, (route, _) in enumerate(simulation.policies[0].routes):
        table.add_row(route, *(_percent(policy.routes[at][1]) for policy in simulation.policies))
    table.add_row("autonomous in error", *(_interval(policy.error) for policy in simulation.policies))
    table.add_row("  suggested codes wrong", *(_interval(policy.wrong_codes) for policy in simulation.policies))
    table.add_row("  right codes missing", *(_interval(policy.missed_codes) for policy in simulation.policies))
    table.add_row("in error, were all autonomous", *(_interval(one.error_of_all) for one in simulation.policies))
    yield table
    for policy in simulation.policies:
        yield _rules(policy)
        yield _slices(policy)


def _rules(policy: PolicyResult) -> Table:
    table = _table(f"{policy.name}: what each rule does, alone")
    table.add_column("rule", no_wrap=True)
    for name in ("fired", "moved"):
        table.add_column(name, justify="right")
    table.add_column("from → to")
    table.add_column("in error, of those kept from autonomous", justify="right")
    for rule in policy.rules:
        moves = ", ".join(f"{before} → {after} {count:,}" for before, after, count in rule.moves[:2])
        kept = _interval(rule.kept_from_autonomous) if rule.kept_from_autonomous.of else ""
        table.add_row(rule.name, _percent(rule.fired), _percent(rule.moved), moves, kept)
    return table


def _slices(policy: PolicyResult) -> Table:
    table = _table(f"{policy.name}: the autonomous, by slice")
    table.add_column("slice", no_wrap=True)
    for name in ("encounters", "autonomous", "in error"):
        table.add_column(name, justify="right")
    for one in policy.slices:
        error = _interval(one.error) if one.error.of else ""
        table.add_row(f"{one.dimension}: {one.value}", f"{one.autonomous.of:,}", _percent(one.autonomous), error)
    return table


def pilot_tables(plan: PilotPlan) -> Iterator[Table]:
    """The segments to begin with, and what they come to."""
    table = _table("where autonomy would pay first; errors measured on the half that was not chosen on")
    for name in ("setting", "specialty", "complexity"):
        table.add_column(name, no_wrap=True)
    for name in ("volume", "in error", "seconds each"):
        table.add_column(name, justify="right")
    for pilot in plan.pilots:
        seconds = f"{pilot.seconds_a_encounter:.0f}" if pilot.seconds_a_encounter is not None else ""
        segment = pilot.segment
        told = (_percent(pilot.volume), _interval(pilot.error), seconds)
        table.add_row(segment.setting, segment.specialty, segment.complexity, *told)
    table.add_section()
    hours = f"{plan.hours_saved:,.0f} h in all" if plan.hours_saved is not None else ""
    table.add_row("all of these", "", "", _percent(plan.volume), _interval(plan.error), hours, style="bold")
    table.add_row("the whole history", "", "", "", _interval(plan.error_of_all), "")
    yield table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="bold")


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f}%"


def _interval(share: Share) -> str:
    if not share.of:
        return "none"
    return f"{100 * share.value:.1f}% ({100 * share.low:.1f} to {100 * share.high:.1f}) of {share.of:,}"
