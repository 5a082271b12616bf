"""Groupings for people and programs."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clinical_coding.codes import CodeSystem, split_key
from clinical_coding.grouping import CodeEffect, ComplicationLevel, Grouping, HccCategory
from clinical_coding.records import Encounter, Setting
from scripts.encounter_files import CodedEncounter

__all__ = ["grouping_answer", "show_grouping"]


def grouping_answer(
    coded: CodedEncounter, *, grouping: Grouping | None, hccs: tuple[HccCategory, ...]
) -> dict[str, object]:
    """Put what was found in the form that programs read: the HCCs stand beside the grouping, which may be null."""
    return {
        "record_id": coded.record_id,
        "grouping": None if grouping is None else grouping.model_dump(mode="json", exclude={"hccs"}),
        "hccs": [hcc.model_dump(mode="json") for hcc in hccs],
    }


def show_grouping(
    console: Console, coded: CodedEncounter, *, grouping: Grouping | None, hccs: tuple[HccCategory, ...]
) -> None:
    """Print a grouping, or why there is none, and the HCCs."""
    if coded.record_id is not None:
        console.print(f"[bold]{escape(coded.record_id)}[/bold]")
    if grouping is None:
        console.print(_why_none(coded.encounter))
    else:
        _show_drg(console, grouping)
    if hccs:
        console.print(_hcc_table(hccs))


def _why_none(encounter: Encounter) -> str:
    if encounter.setting is not Setting.INPATIENT:
        return f"no DRG: the setting is {encounter.setting}, and MS-DRGs are for inpatient stays"
    return "no DRG: no ICD-10-CM code has sequence 1; name the principal diagnosis with --principal"


def _show_drg(console: Console, grouping: Grouping) -> None:
    name = "working DRG" if grouping.is_working else "DRG"
    weight = "no weight table loaded" if grouping.relative_weight is None else f"weight {grouping.relative_weight:.4f}"
    console.print(f"[bold]{name} {grouping.drg}[/bold] {escape(grouping.description)}")
    mdc = "" if grouping.mdc is None else f"MDC {grouping.mdc}, "
    console.print(f"{mdc}{weight}, MS-DRG {grouping.grouper_version}")
    if grouping.drg_without_complications != grouping.drg:
        console.print(f"without the diagnoses that count as CC or MCC: DRG {grouping.drg_without_complications}")
    for remark in grouping.remarks:
        console.print(f"[yellow]{escape(remark)}[/yellow]")
    console.print(_effect_table(grouping.effects))


def _effect_table(effects: tuple[CodeEffect, ...]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("code", "role", "level", "without it", "what it does"):
        table.add_column(name, no_wrap=name != "what it does")
    for effect in effects:
        level = "" if effect.level is ComplicationLevel.NONE else effect.level.upper()
        if effect.not_counted is not None:
            level = f"({level})"
        table.add_row(
            _code(effect.key),
            effect.role,
            level,
            effect.drg_without or "",
            escape(effect.explanation),
            style="bold" if effect.drg_without else "",
        )
    return table


def _hcc_table(hccs: tuple[HccCategory, ...]) -> Table:
    table = Table(title=f"risk adjustment, {hccs[0].model}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name in ("code", "HCC", "counts", "category"):
        table.add_column(name)
    for hcc in hccs:
        counts = "yes" if hcc.counts else "no" if hcc.superseded_by is None else f"no, below HCC {hcc.superseded_by}"
        table.add_row(_code(hcc.key), hcc.hcc, counts, escape(hcc.description or ""))
    return table


def _code(key: str) -> str:
    """The number alone for a diagnosis, with its system for a procedure."""
    system, code = split_key(key)
    return code if system is CodeSystem.ICD10CM else f"{code} (PCS)"
