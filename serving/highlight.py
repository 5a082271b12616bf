"""Shows a suggestion in the terminal: the notes with their evidence coloured, the codes, findings and queries.

Notes and codes can be shown apart, for whoever has something else to say beside them.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from clinical_coding.records import Note
from clinical_coding.suggestions import RouteDecision, SuggestedCode, Suggestion
from serving.finding_display import render_findings, render_queries

__all__ = ["printable", "render", "render_codes", "render_notes"]

# Dark enough for white paper and light enough for a black terminal; the rank beside each span
# says the same to who sees no colours.
_COLOURS: Final = ("green", "magenta", "cyan", "yellow", "blue", "red")
_ROUTES: Final[Mapping[RouteDecision, tuple[str, str]]] = {
    RouteDecision.AUTONOMOUS: ("green", "the model codes alone"),
    RouteDecision.ASSISTED: ("yellow", "a coder decides, with these codes"),
    RouteDecision.MANUAL: ("red", "a coder decides, without codes from the model"),
}
# A note could otherwise steer the terminal it is shown in.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_EXCERPT_CHARACTERS: Final = 60
_MAX_EXCERPTS: Final = 2


def render(notes: Sequence[Note], suggestion: Suggestion) -> RenderableType:
    """Lay out a suggestion; made for 100 columns, and readable in fewer.

    Args:
        notes: The notes that were asked about.
        suggestion: The gateway's answer.

    Returns:
        What ``rich.console.Console.print`` takes.
    """
    parts: list[RenderableType] = [render_notes(notes, suggestion.codes)]
    if suggestion.codes:
        parts.append(render_codes(suggestion.codes))
    if suggestion.findings:
        parts.append(render_findings(suggestion.findings))
    if suggestion.queries:
        parts.append(render_queries(suggestion.queries))
    return Group(*parts, _summarise(suggestion))


def render_notes(notes: Sequence[Note], codes: Sequence[SuggestedCode]) -> RenderableType:
    """Lay out notes with the evidence of the codes coloured, each span followed by its code's rank."""
    return Group(
        *(
            Panel(
                _colour(note, codes),
                title=Text(printable(f"{note.type} {note.note_id}")),
                title_align="left",
                box=box.ROUNDED,
            )
            for note in notes
        )
    )


def _colour(note: Note, codes: Sequence[SuggestedCode]) -> Text:
    """The note with each span in its code's colour, and the code's rank behind the span's end."""
    spans = [
        (span.start, span.end, code.rank) for code in codes for span in code.evidence if span.note_id == note.note_id
    ]
    text = Text()
    edges = sorted({0, len(note.text)} | {edge for start, end, _ in spans for edge in (start, end)})
    for start, end in pairwise(edges):
        ranks = [rank for first, last, rank in spans if first <= start and end <= last]
        text.append(printable(note.text[start:end]), style=_style(min(ranks)) if ranks else "")
        for rank in sorted(rank for _, last, rank in spans if last == end):
            text.append(f"[{rank}]", style=f"bold {_colour_of(rank)}")
    return text


def render_codes(codes: Sequence[SuggestedCode]) -> Table:
    """Lay out suggested codes with description, confidence, evidence and alternatives."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("code", no_wrap=True)
    table.add_column("description", ratio=4)
    table.add_column("conf.", justify="right", no_wrap=True)
    table.add_column("evidence", ratio=5)
    table.add_column("alternatives", no_wrap=True)
    for code in codes:
        others = "\n".join(f"{other.code} {other.confidence:.2f}" for other in code.alternatives)
        table.add_row(
            Text(f"{code.rank}", style=f"bold {_colour_of(code.rank)}"),
            Text(f"{code.code}\n", style="bold").append(code.system, style="dim not bold"),
            Text(code.description or "(descriptor is licensed)", style="" if code.description else "dim"),
            f"{code.confidence:.2f}",
            _excerpts(code),
            Text(others, style="dim"),
        )
    return table


def _excerpts(code: SuggestedCode) -> Text:
    shown = [_shorten(span.text) for span in code.evidence[:_MAX_EXCERPTS]]
    hidden = len(code.evidence) - len(shown)
    text = Text("\n").join(Text(f"“{excerpt}”", style=_colour_of(code.rank)) for excerpt in shown)
    if hidden:
        text.append(f"\nand {hidden} more", style="dim")
    return text


def _shorten(text: str) -> str:
    flat = printable(" ".join(text.split()))
    return flat if len(flat) <= _EXCERPT_CHARACTERS else f"{flat[: _EXCERPT_CHARACTERS - 1]}…"


def _summarise(suggestion: Suggestion) -> Text:
    route, version = suggestion.route, suggestion.version
    colour, meaning = _ROUTES[route.decision]
    text = Text.assemble(
        ("route ", "dim"),
        (route.decision.value, f"bold {colour}"),
        f": {meaning} ({', '.join(route.rules)}; record confidence {route.record_confidence:.2f})\n",
        ("version ", "dim"),
        f"{version.name} {version.number or version.bundle_sha256[:12]}",
        f" ({version.alias})" if version.alias else "",
        ("\nsuggestion ", "dim"),
        suggestion.suggestion_id,
    )
    if suggestion.grouping is not None:
        drg, weight = suggestion.grouping, suggestion.grouping.relative_weight
        text.append(f"\nworking DRG {drg.drg} {drg.description}" + (f", weight {weight}" if weight is not None else ""))
        text.append("".join(f"\n{remark}" for remark in drg.remarks), style="dim")
    if suggestion.degraded:
        text.append("  degraded: the fallback answered", style="bold red")
    return text


def printable(text: str) -> str:
    """A text without what would steer the terminal that it is shown in."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _style(rank: int) -> str:
    return f"underline {_colour_of(rank)}"


def _colour_of(rank: int) -> str:
    return _COLOURS[(rank - 1) % len(_COLOURS)]
