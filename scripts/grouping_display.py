"""Groupings for people and programs, and the files that they are asked of."""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clinical_coding.artefact import describe_errors
from clinical_coding.codes import Code, CodeSystem, split_key
from clinical_coding.grouping import CodeEffect, ComplicationLevel, Grouping, HccCategory
from clinical_coding.records import Encounter, Setting

__all__ = ["CodedEncounter", "grouping_answer", "read_coded_encounters", "show_grouping"]


class CodedEncounter(BaseModel):
    """What is read of a file: a coded record, or anything else that has an encounter and codes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    record_id: str | None = None
    encounter: Encounter
    codes: tuple[Code, ...] = Field(min_length=1)


def read_coded_encounters(file: Path) -> Iterator[CodedEncounter]:
    """Read one JSON document, or one a line.

    Raises:
        ValueError: The file is not UTF-8 JSON, or has no encounter and codes; file and line are named.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text; convert it with iconv -t UTF-8") from None
    try:
        json.loads(text)
    except ValueError:
        documents = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    else:
        documents = [(1, text)]
    if not documents:
        raise ValueError(f"{file} is empty; give JSON with encounter and codes, such as one coded record")
    for number, document in documents:
        try:
            yield CodedEncounter.model_validate_json(document)
        except ValidationError as error:
            raise ValueError(f"{file}, line {number}: {describe_errors(error)}") from None


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
