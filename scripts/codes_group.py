"""``chartloop codes group``: the MS-DRG of inpatient stays, the codes it rests on, and HCCs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scripts.held_releases import held_releases
from scripts.options import DEFAULT_DATA_DIR, AsJson, DataDir, print_json

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Put the command on the ``codes`` commands."""
    app.command("group")(group_codes)


def group_codes(
    file: Annotated[Path, typer.Argument(help="JSON, or JSONL, with encounter and codes: a coded record, for one.")],
    principal: Annotated[
        str | None,
        typer.Option(help="Diagnosis to take as principal, such as icd10cm:I21.4; default: the one with sequence 1."),
    ] = None,
    discharge_status: Annotated[
        str | None, typer.Option(help="Two digits of UB-04 form locator 17, such as 20 for a patient who died.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Group an inpatient stay (MS-DRG), say what each code does to the DRG, and list HCCs."""
    from clinical_coding.grouping import find_hccs, group
    from scripts.encounter_files import read_encounters
    from scripts.grouping_display import grouping_answer, show_grouping

    systems = held_releases(data_dir)
    console = Console()
    for coded in read_encounters(file):
        grouping = group(
            coded.encounter, coded.codes, systems=systems, principal=principal, discharge_status=discharge_status
        )
        hccs = find_hccs(coded.encounter, coded.codes) if grouping is None else grouping.hccs
        if as_json:
            print_json(grouping_answer(coded, grouping=grouping, hccs=hccs))
        else:
            show_grouping(console, coded, grouping=grouping, hccs=hccs)
