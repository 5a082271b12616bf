"""Physician queries in the terminal: the list, and one with its words and its life."""

from collections.abc import Mapping
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from feedback.query_life import AskedQuestion, QueryEvent, QueryLife, QueryPage, QueryState, QueryView
from serving.highlight import printable

__all__ = ["render_life", "render_page", "render_question"]

_COLOURS: Final[Mapping[QueryState, str]] = {
    QueryState.DRAFTED: "yellow",
    QueryState.SENT: "cyan",
    QueryState.ANSWERED: "green",
    QueryState.CLOSED: "dim",
}


def render_page(page: QueryPage) -> RenderableType:
    """Lay out a list of queries; none says so."""
    if not page.queries:
        return Text("no query of this kind")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("query", "topic", "state", "since (UTC)", "record"):
        table.add_column(column, no_wrap=column in ("query", "state"))
    for life in page.queries:
        table.add_row(life.query_id, _plain(life.topic), _state(life), _since(life), _plain(life.record_id))
    if page.next_after is None:
        return table
    return Group(table, Text(f"more: --after {page.next_after}", style="dim"))


def render_question(view: QueryView) -> RenderableType:
    """Lay out all of a query: what the physician sees in a frame, below it what is for coders."""
    return Group(
        Panel(
            _asked(view.physician_view),
            title=_plain(view.physician_view.title),
            subtitle="what the physician sees",
            title_align="left",
            subtitle_align="left",
            box=box.ROUNDED,
        ),
        Text(f"for coders: {', '.join(view.codes) or 'no code'}; {printable(view.source)}", style="dim"),
        render_life(view),
    )


def render_life(life: QueryLife) -> RenderableType:
    """Lay out what became of a query, and the suggestion that its answer led to."""
    text = Text.assemble(f"query {life.query_id} ({printable(life.topic)}) is ", _state(life))
    text.append(f"\ndrafted   {life.drafted_at:%Y-%m-%d %H:%M} UTC with suggestion {life.suggestion_id}")
    for event in life.events:
        text.append(f"\n{event.state.value:<9} {event.at:%Y-%m-%d %H:%M} UTC{_more(event)}")
    return text


def _asked(asked: AskedQuestion) -> Text:
    text = Text(f"{printable(asked.question)}\n", style="bold")
    for number, option in enumerate(asked.options, start=1):
        text.append(f"  {number}  {printable(option)}\n", style="not bold")
    if not asked.options:
        text.append("  (answered in the physician's own words)\n", style="not bold dim")
    text.append("\nIndicators", style="not bold dim")
    for indicator in asked.indicators:
        text.append(f"\n  {printable(indicator.name)}: ", style="not bold")
        text.append(f"“{printable(' '.join(indicator.text.split()))}”", style="not bold underline")
        text.append(f"  {printable(indicator.note_id)}, {indicator.start} to {indicator.end}", style="not bold dim")
    return text


def _more(event: QueryEvent) -> str:
    if event.state is QueryState.CLOSED:
        return f", {event.reason}"
    if event.state is not QueryState.ANSWERED:
        return ""
    option = "" if event.option is None else f", option {event.option + 1}"
    if event.new_suggestion_id is None:
        return f"{option}, documentation unchanged"
    return f"{option}, documentation amended: suggestion {event.new_suggestion_id}"


def _state(life: QueryLife) -> Text:
    return Text(life.state.value, style=_COLOURS[life.state])


def _since(life: QueryLife) -> str:
    return f"{life.events[-1].at if life.events else life.drafted_at:%Y-%m-%d %H:%M}"


def _plain(text: str) -> Text:
    return Text(printable(text))
