"""A case as a supervisor sees it in the terminal: the notes, both answers side by side, how to give the verdict.

Made for 100 columns, and readable in fewer.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from clinical_coding.decisions import Adjudication, CodeAction
from clinical_coding.suggestions import RouteDecision, SuggestedCode
from feedback.case_view import CaseView, CoderAnswer, NamedCode
from feedback.queue import MAX_COUNTED, CaseSummary, QueuePage
from feedback.settings import ReasonCodes
from feedback.verdicts import CaseKind
from serving.finding_display import render_findings
from serving.highlight import printable, render_codes, render_notes

__all__ = ["render_adjudication", "render_case", "render_queue"]

_COMMAND = "chartloop feedback"


def render_queue(page: QueuePage) -> RenderableType:
    """Lay out the open cases in the order in which they are offered."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("case", no_wrap=True)
    table.add_column("in dispute", no_wrap=True)
    table.add_column("specialty", ratio=1)
    table.add_column("waits", justify="right", no_wrap=True)
    table.add_column("claimed by", no_wrap=True)
    now = datetime.now(UTC)
    for case in page.cases:
        specialty = Text(printable(case.specialty))
        waits = _duration(now - case.opened_at)
        table.add_row(case.case_id, _dispute(case), specialty, waits, _holder(case.claimed_until, case.is_yours))
    num_open = f"{page.num_open:,} or more" if page.num_open == MAX_COUNTED else f"{page.num_open:,}"
    if not page.cases:
        return Text(f"none of {num_open} open cases waits for a verdict of yours")
    shown = f"{len(page.cases):,} of {num_open} open cases; take the next with: {_COMMAND} show"
    return Group(table, Text(shown, style="dim"))


def render_case(case: CaseView, *, reasons: ReasonCodes, kept: Adjudication | None) -> RenderableType:
    """Lay out a case with everything that a verdict is given on.

    Args:
        case: The case.
        reasons: What the coder's reason codes mean.
        kept: The verdict, once there is one.
    """
    codes = [render_codes(case.suggested)] if case.suggested else []
    findings = [render_findings(case.findings)] if case.findings else []
    end = _instruct(case) if kept is None else render_adjudication(kept)
    notes, answers = render_notes(case.notes, case.suggested), _answers(case, reasons=reasons)
    return Group(_head(case), notes, *codes, *findings, answers, end)


def render_adjudication(kept: Adjudication) -> RenderableType:
    """Lay out a verdict with the codes that it teaches."""
    text = Text.assemble(("verdict ", "dim"), (kept.verdict.value, "bold"), f" on {printable(kept.citation)}")
    for code in kept.codes:
        is_right = code.state == "positive"
        text.append(f"\n  {'+' if is_right else '-'} {code.key}", style="green" if is_right else "red")
        text.append("  stands" if is_right else "  does not stand")
    if not kept.codes:
        text.append("\n  no code is taught")
    return text.append(f"\nadjudication {kept.adjudication_id}", style="dim")


def _head(case: CaseView) -> Text:
    encounter = case.encounter
    age_and_sex = " ".join(
        part for part in (encounter.sex, None if encounter.age is None else f"{encounter.age} years") if part
    )
    facts = (encounter.setting.value, encounter.specialty, age_and_sex, encounter.payer, encounter.service_start)
    claim = _holder(case.claimed_until, case.is_yours)
    state = Text.assemble("claimed by ", claim, " left") if claim else Text("not claimed", style="yellow")
    return Text.assemble(
        ("case ", "dim"),
        (case.case_id, "bold"),
        f"  {case.kind.value}  ",
        state if case.is_open else Text("closed", style="bold"),
        "\n",
        ("encounter ", "dim"),
        printable(", ".join(str(fact) for fact in facts if fact)),
        "\n",
        ("suggested by ", "dim"),
        f"{case.version.name} {case.version.number or case.version.bundle_sha256[:12]}, route {case.route.value}",
    )


def _answers(case: CaseView, *, reasons: ReasonCodes) -> RenderableType:
    """The model's answer beside the coder's; on an audit, what both let stand."""
    if case.answer is None:
        who = (
            "the model alone" if case.route is RouteDecision.AUTONOMOUS else "the model, and the coder who let it stand"
        )
        body = Text("\n").join(_name(code) for code in case.final_codes) if case.final_codes else Text("no code")
        return Panel(body, title=f"the answer of {who}", title_align="left", box=box.ROUNDED)
    sides = Table.grid(expand=True)
    sides.add_column(ratio=1)
    sides.add_column(ratio=1)
    model = Panel(_models(case, case.answer), title="the model", title_align="left", box=box.ROUNDED)
    coder = Panel(_coders(case.answer, reasons=reasons), title="the coder", title_align="left", box=box.ROUNDED)
    sides.add_row(model, coder)
    return sides


def _models(case: CaseView, answer: CoderAnswer) -> Text:
    if answer.action is CodeAction.ADD:
        text = Text.assemble("does not suggest ", (answer.code.code, "bold"))
        if considered := max(_considered(case.suggested, answer.code), default=None):
            confidence, rank = considered
            text.append(f"\nconsidered it in the place of [{rank}], confidence {confidence:.2f}", style="dim")
        return text
    code = next(code for code in case.suggested if (code.system, code.code) == (answer.code.system, answer.code.code))
    return Text.assemble(
        "suggests ",
        _name(answer.code),
        (f"\nconfidence {code.confidence:.2f}, marked [{code.rank}] in the notes", "dim"),
    )


def _considered(suggested: tuple[SuggestedCode, ...], wanted: NamedCode) -> Iterator[tuple[float, int]]:
    for code in suggested:
        for other in code.alternatives:
            if (other.system, other.code) == (wanted.system, wanted.code):
                yield other.confidence, code.rank


def _coders(answer: CoderAnswer, *, reasons: ReasonCodes) -> Text:
    known = reasons.reasons.get(answer.reason)
    match answer.action:
        case CodeAction.ADD:
            text = Text.assemble("adds ", _name(answer.code))
        case CodeAction.REJECT:
            text = Text.assemble("rejects ", (answer.code.code, "bold"))
        case _:
            text = Text.assemble("puts in its place ", _name(answer.to or answer.code))
    return text.append(f"\n{answer.reason}: {known.text}" if known else f"\n{answer.reason}", style="dim")


def _instruct(case: CaseView) -> Text:
    """The commands that give the verdict."""
    if not case.is_yours:
        return Text(f"to give a verdict, claim it: {_COMMAND} show {case.case_id} --claim", style="yellow")
    text = Text.assemble(
        "\n", ("give the verdict with\n", "dim"), f"  {_COMMAND} adjudicate {case.case_id} \\\n",
        "      --citation 'GUIDELINE OR CODING CLINIC' --verdict …\n",
    )  # fmt: skip
    table = _verdicts(case)
    width = max(len(verdict) for verdict, _ in table)
    for verdict, meaning in table:
        text.append(f"  {verdict:<{width}}", style="bold").append(f"  {meaning}\n")
    return text.append(f"or give it back: {_COMMAND} release {case.case_id}", style="dim")


def _verdicts(case: CaseView) -> list[tuple[str, str]]:
    unclear = ("policy-unclear", "the guidelines do not settle it; teaches nothing")
    if case.kind is CaseKind.AUDIT or case.answer is None:
        return [
            ("ai-right", "exactly these codes stand"),
            ("both-wrong --code SYSTEM:CODE …", "these codes stand instead, all of them named"),
            unclear,
        ]
    right = {
        CodeAction.MODIFY: (f"{case.answer.code.code} stands", f"{case.answer.to and case.answer.to.code} stands"),
        CodeAction.REJECT: (f"{case.answer.code.code} stands", f"{case.answer.code.code} does not stand"),
        CodeAction.ADD: (f"{case.answer.code.code} does not stand", f"{case.answer.code.code} stands"),
    }[case.answer.action]
    neither = "neither; these stand" if case.answer.to else f"not {case.answer.code.code}; these stand"
    return [("ai-right", right[0]), ("coder-right", right[1]), ("both-wrong --code SYSTEM:CODE …", neither), unclear]


def _name(code: NamedCode) -> Text:
    return Text.assemble((code.code, "bold"), (f" {code.system}", "dim"), f"  {code.description or ''}".rstrip())


def _dispute(case: CaseSummary) -> str:
    match case.action:
        case None:
            return "all codes (audit)"
        case CodeAction.MODIFY:
            return f"{case.code} or {case.to}"
        case action:
            return f"{action.value} {case.code}"


def _holder(until: datetime | None, is_yours: bool) -> Text:
    """Who holds a case, and how long still; nothing when nobody does."""
    if until is None:
        return Text()
    left = _duration(until - datetime.now(UTC))
    return Text(f"you, {left}", style="green") if is_yours else Text(f"another, {left}", style="yellow")


def _duration(span: timedelta) -> str:
    minutes = max(0, round(span.total_seconds() / 60))
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"
