"""A trace as a tree for people: suggestion, decisions, overrides, audit draw, verdicts, versions."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

if TYPE_CHECKING:
    from clinical_coding.codes import Code
    from clinical_coding.decisions import CodeDecision
    from feedback.traced import LogEntry, Person, Trace, TracedAdjudication, TracedDecision, TracedSuggestion

__all__ = ["Versions", "trace_tree"]

Versions = Mapping[str, Sequence[int]]
_HASH_CHARACTERS = 12


def trace_tree(found: "Trace", *, versions: Versions | None) -> Tree:
    """Draw a trace.

    Args:
        found: The trace.
        versions: Numbers of the versions trained on each adjudication; None when they cannot be told.
    """
    root = Tree(_suggestion(found.suggestion, found))
    for decision in found.decisions:
        branch = root.add(_decision(decision, found))
        for one in found.overrides:
            if one.decision_id == decision.decision_id:
                change = f"{one.system}:{one.code}" + (f" -> {one.to}" if one.to else "")
                title = f"{_title('override', one.override_id, found)}\n{one.action} {change}, {one.reason}"
                leaf = branch.add(f"{title}{_log(one.log)}")
                _add_verdicts(leaf, one.override_id, found, versions=versions)
    if (draw := found.audit_draw) is not None:
        drawn = f"{_when(draw.drawn_at)}, stratum {draw.stratum}, probability {draw.probability:g}"
        leaf = root.add(f"{_title('audit draw', draw.audit_draw_id, found)}\n{drawn}{_log(draw.log)}")
        _add_verdicts(leaf, draw.audit_draw_id, found, versions=versions)
    return root


def _suggestion(one: "TracedSuggestion", found: "Trace") -> str:
    number = "a bundle without number" if one.version_number is None else f"version {one.version_number}"
    if one.codes is None:
        codes = "content purged"
    else:
        codes = ", ".join(f"{code.system}:{code.code} {code.confidence:.2f}" for code in one.codes) or "no codes"
    return "\n".join(
        [
            _title("suggestion", one.suggestion_id, found),
            f"{_when(one.stored_at)} for {_person(one.by)}, record {escape(one.record_id)}",
            f"{number}, bundle {one.bundle_sha256[:_HASH_CHARACTERS]}, route {one.route}",
            f"{codes}{_log(one.log)}",
        ]
    )


def _decision(one: "TracedDecision", found: "Trace") -> str:
    named = "; ".join(_code_decision(code) for code in one.codes)
    is_decided = one.outcome == "decided" and found.suggestion.route != "manual"
    rest = "the others accepted" if named else "all accepted"
    said = "; ".join(part for part in (named, rest if is_decided else "") if part)
    return "\n".join(
        [
            _title("decision", one.decision_id, found),
            f"{_when(one.decided_at)} by {_person(one.by)}, {one.outcome} in {one.seconds_spent:g} s",
            f"{said}{_log(one.log)}".removeprefix("\n"),
        ]
    )


def _code_decision(one: "CodeDecision") -> str:
    change = f"{one.system}:{one.code}" + (f" -> {one.to}" if one.to else "")
    return f"{one.action} {change}" + (f" ({one.reason})" if one.reason else "")


def _add_verdicts(leaf: Tree, case_id: str, found: "Trace", *, versions: Versions | None) -> None:
    for one in found.adjudications:
        if one.case_id == case_id:
            leaf.add(_adjudication(one, found, versions=versions))
    if not any(one.case_id == case_id for one in found.adjudications):
        leaf.add("[dim]not adjudicated yet[/dim]")


def _adjudication(one: "TracedAdjudication", found: "Trace", *, versions: Versions | None) -> str:
    blinded = ", blinded" if one.blinded else ""
    lines = [
        _title("adjudication", one.adjudication_id, found),
        f"{_when(one.adjudicated_at)} by {_person(one.by)}, round {one.round}{blinded}: [bold]{one.verdict}[/bold]",
        _codes(one.codes),
        f"citation: {escape(one.citation)}{_log(one.log)}",
    ]
    if versions is not None:
        known = versions.get(one.adjudication_id, ())
        lines.append(f"trained versions: {', '.join(map(str, sorted(known))) or 'none yet'}")
    return "\n".join(lines)


def _codes(codes: "Iterable[Code]") -> str:
    states: dict[str, list[str]] = {}
    for code in codes:
        states.setdefault(code.state.value, []).append(code.key)
    return "; ".join(f"{state} {', '.join(keys)}" for state, keys in states.items()) or "teaches nothing"


def _title(kind: str, identifier: str, found: "Trace") -> str:
    is_asked = found.asked_for.removeprefix("feedback-") == identifier
    return f"[bold]{kind}[/bold] {identifier}" + (f"  [green]<- {found.kind} asked for[/green]" if is_asked else "")


def _person(one: "Person") -> str:
    return f"{escape(one.name)} ({one.role})"


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _log(entries: "Iterable[LogEntry]") -> str:
    told = ", ".join(f"{entry.seq} {entry.action}" for entry in entries)
    return f"\n[dim]audit log: {told}[/dim]" if told else ""
