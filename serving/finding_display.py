"""Shows in the terminal what coding rules say of codes, and what the physician is asked.

For whoever shows a suggestion, a case or a claim; what the findings are of is shown elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from clinical_coding.codes import CodeSystem, split_key
from clinical_coding.findings import Finding, Severity
from clinical_coding.physician_queries import PhysicianQuery

__all__ = ["render_findings", "render_queries", "render_query"]

_COLOURS: Final[Mapping[Severity, str]] = {
    Severity.BLOCKING: "bold red",
    Severity.WARNING: "yellow",
    Severity.INFO: "dim",
}
_ORDER: Final = (Severity.BLOCKING, Severity.WARNING, Severity.INFO)


def render_findings(findings: Sequence[Finding]) -> RenderableType:
    """Lay out findings, the gravest first."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("finding", no_wrap=True)
    table.add_column("codes", no_wrap=True)
    table.add_column("why, and what settles it", ratio=1)
    for finding in sorted(findings, key=lambda finding: _ORDER.index(finding.severity)):
        codes = "\n".join(map(_written, finding.codes))
        rule = Text.assemble((finding.severity.value, _COLOURS[finding.severity]), f"\n{finding.rule}")
        why = Text(finding.explanation)
        if finding.fix:
            why.append(f"\n→ {finding.fix}")
        why.append(f"\n{finding.source}", style="dim")
        table.add_row(rule, Text(codes, style="bold"), why)
    return table


def render_queries(queries: Sequence[PhysicianQuery]) -> RenderableType:
    """Lay out what the physician is asked."""
    return Group(*(render_query(query) for query in queries))


def render_query(query: PhysicianQuery) -> RenderableType:
    """Lay out one query: what the notes hold, the question, the answers to choose from."""
    text = Text()
    for indicator in query.indicators:
        text.append(f"{indicator.name}: ", style="dim")
        text.append(f"“{_flat(indicator.text)}”\n")
    text.append(query.question, style="bold")
    for number, option in enumerate(query.options, start=1):
        text.append(f"\n  {number}. {option}")
    text.append(f"\nquery {query.query_id}", style="dim")
    return Panel(text, title=Text(f"query: {query.title}"), title_align="left", box=box.ROUNDED)


def _written(key: str) -> str:
    """The number alone for a diagnosis, with its system for a procedure."""
    system, code = split_key(key)
    return code if system is CodeSystem.ICD10CM else f"{code} {system}"


def _flat(text: str) -> str:
    # A note could otherwise steer the terminal that it is shown in.
    return "".join(character if character.isprintable() else " " for character in " ".join(text.split()))
